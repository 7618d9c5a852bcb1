"""A model's own sampling defaults: read as vLLM's server reads them, and added to what a sampling leaves out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from actors.contract.records import PolicyRef
from actors.engine.model_folder import shape_difference
from actors.engine.port import Sampling
from actors.engine.sampling_defaults import SamplingDefaults, sampling_defaults
from actors.errors import SalusError
from tests.tiny_model import make_tiny_model

COMMON = {"temperature": 0.7, "top_p": 0.8, "top_k": 20, "repetition_penalty": 1.05, "do_sample": True}
# The files of a folder, and what is in them.
FOLDERS: dict[str, tuple[dict[str, dict[str, Any]], dict[str, Any]]] = {
    "common": ({"generation_config.json": {**COMMON, "eos_token_id": [2, 3]}}, {**COMMON, "max_new_tokens": None}),
    "nulls": ({"generation_config.json": {"top_p": None, "min_p": 0.1, "max_new_tokens": 64}}, {"min_p": 0.1}),
    # transformers 5 passes over what older models keep there.
    "older": ({"config.json": {"repetition_penalty": 1.2, "top_p": None}}, {}),
    "newer file first": (
        {"generation_config.json": {"top_k": 5}, "config.json": {"repetition_penalty": 1.2}},
        {"top_k": 5},
    ),
    "nothing": ({}, {}),
}


@pytest.mark.parametrize("kind", FOLDERS)
def test_they_are_read_from_where_the_folder_keeps_them(kind: str, tmp_path: Path) -> None:
    files, expected = FOLDERS[kind]
    for name, held in files.items():
        (tmp_path / name).write_text(json.dumps(held))
    found = sampling_defaults(tmp_path)
    for name in ("temperature", "top_p", "top_k", "min_p", "repetition_penalty"):
        assert getattr(found, name) == expected.get(name), name


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["common", "nulls", "older", "nothing"])
def test_vllms_server_reads_the_same(kind: str, tmp_path: Path) -> None:
    """vLLM 0.29: what its chat route adds to a request. Importing it takes most of this test's time."""
    from vllm.config import ModelConfig

    folder = make_tiny_model(tmp_path / "model")
    (folder / "generation_config.json").unlink()
    for name, held in FOLDERS[kind][0].items():
        path = folder / name
        known = json.loads(path.read_text()) if path.is_file() else {}
        path.write_text(json.dumps(known | held))
    served = ModelConfig(model=str(folder), dtype="float32", max_model_len=64).get_diff_sampling_param()
    served["max_new_tokens"] = served.pop("max_tokens", None)
    assert sampling_defaults(folder) == SamplingDefaults.model_validate(served)


@pytest.mark.parametrize("wrong", ["[]", "{", '{"temperature": "hot"}', '{"top_k": 2.5}'])
def test_a_damaged_file_is_named(wrong: str, tmp_path: Path) -> None:
    (tmp_path / "generation_config.json").write_text(wrong)
    with pytest.raises(
        SalusError, match=r"generation_config\.json is no generation config \(.+\); take it from a copy"
    ):
        sampling_defaults(tmp_path)


def test_what_a_sampling_names_wins_and_the_rest_is_the_models() -> None:
    defaults = SamplingDefaults(temperature=0.6, top_p=0.9, top_k=20, repetition_penalty=1.3, max_new_tokens=9)
    greedy = defaults.settled(Sampling(k=1, temperature=0.0, max_tokens=5))
    assert (greedy.temperature, greedy.max_tokens) == (0.0, 5)
    assert (greedy.top_p, greedy.top_k, greedy.min_p, greedy.repetition_penalty) == (0.9, 20, None, 1.3)
    named = defaults.settled(Sampling(top_p=1.0, top_k=0, repetition_penalty=1.0))
    assert (named.temperature, named.top_p, named.top_k, named.repetition_penalty) == (1.0, 1.0, 0, 1.0)


def test_in_words() -> None:
    assert SamplingDefaults(repetition_penalty=1.3, top_k=20).in_words() == "top_k 20, repetition_penalty 1.3"
    assert SamplingDefaults().in_words() == "none"


def test_an_endpoint_swaps_no_policy_in_that_it_would_sample_otherwise(tmp_path: Path) -> None:
    """vLLM's server reads the defaults once, when it starts."""
    served, other = (
        PolicyRef(version=name, path=str(make_tiny_model(tmp_path / name))) for name in ("served", "other")
    )
    assert shape_difference(served, other) is None
    config = Path(other.path) / "generation_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"repetition_penalty": 1.3}))
    assert shape_difference(served, other) == (
        "its own sampling defaults are repetition_penalty 1.3, max_new_tokens 64 instead of max_new_tokens 64"
    )


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"top_p": 0}, "top_p"),
        ({"top_k": -1}, "top_k"),
        ({"repetition_penalty": 0}, "penalty"),
        ({"stop": [""]}, "empty"),
    ],
)
def test_a_sampling_that_cannot_be_is_refused(values: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Sampling.model_validate(values)
