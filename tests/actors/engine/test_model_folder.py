"""Model folders that cannot be served are refused with what is missing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from actors.contract.records import PolicyRef
from actors.engine.model_folder import check_model_folder, longest_sequence, shape_difference
from actors.errors import SalusError
from tests.tiny_model import make_tiny_model

# What a Llama's config.json may say of its positions, and how many tokens that is.
LENGTHS: dict[str, tuple[dict[str, object], int]] = {
    "plain": ({"max_position_embeddings": 96}, 96),
    "linear": ({"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0}}, 1024),
    "as before transformers 5": ({"rope_parameters": None, "rope_scaling": {"type": "linear", "factor": 2.0}}, 1024),
    "dynamic": ({"rope_parameters": {"rope_type": "dynamic", "factor": 2.5, "rope_theta": 10000.0}}, 1280),
    "yarn": (
        {
            "rope_parameters": {
                "rope_type": "yarn",
                "factor": 4.0,
                "rope_theta": 10000.0,
                "original_max_position_embeddings": 64,
            }
        },
        256,
    ),
    "llama3": (
        {
            "rope_parameters": {
                "rope_type": "llama3",
                "factor": 8.0,
                "rope_theta": 10000.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 64,
            }
        },
        512,
    ),
}


def write_config(folder: Path, changes: dict[str, object]) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("name", LENGTHS)
def test_how_long_a_model_is_is_read_from_its_config(name: str, tmp_path: Path) -> None:
    """tests/e2e/test_engine.py holds the same against vLLM."""
    folder = make_tiny_model(tmp_path / "model")
    assert longest_sequence(folder) == 512
    changes, length = LENGTHS[name]
    write_config(folder, changes)
    assert longest_sequence(folder) == length


@pytest.mark.parametrize(
    ("config", "length"),
    [
        ({}, None),
        ({"n_positions": 1024}, 1024),
        ({"text_config": {"max_position_embeddings": 64}, "max_position_embeddings": 32}, 64),
        ({"max_position_embeddings": 64, "model_max_length": 128}, 128),
        (
            {
                "model_type": "gemma3_text",
                "max_position_embeddings": 64,
                "rope_parameters": {
                    "full_attention": {"rope_type": "linear", "factor": 8.0},
                    "sliding_attention": {"rope_type": "default"},
                },
            },
            64,
        ),
        (
            {
                "max_position_embeddings": 64,
                "rope_parameters": {
                    "full_attention": {"rope_type": "linear", "factor": 8.0},
                    "sliding_attention": {"rope_type": "default"},
                },
            },
            512,
        ),
    ],
)
def test_it_is_where_the_architecture_says_it(config: dict[str, object], length: int | None, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert longest_sequence(tmp_path) == length


def test_a_config_that_is_none_is_refused(tmp_path: Path) -> None:
    for text in ("{", "[1]", "null"):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(SalusError, match=r"config\.json cannot be read .* save the model again"):
            longest_sequence(tmp_path)


def test_a_policy_that_holds_less_does_not_take_a_longer_ones_place(tmp_path: Path) -> None:
    long, short = (
        PolicyRef(version=f"{n}", path=str(make_tiny_model(tmp_path / f"{n}", positions=n))) for n in (512, 128)
    )
    assert shape_difference(long, short) == "it holds 128 tokens instead of 512"
    assert shape_difference(short, long) is None


def drop_template(folder: Path) -> None:
    for name in ("chat_template.jinja",):
        (folder / name).unlink(missing_ok=True)
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text())
    config.pop("chat_template", None)
    path.write_text(json.dumps(config))


def drop_weights(folder: Path) -> None:
    for file in folder.glob("*.safetensors"):
        file.rename(file.with_suffix(".bin"))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: (folder / "config.json").unlink(), "has no config.json"),
        (drop_weights, "has no .safetensors weights"),
        (drop_template, "has no chat template; add chat_template.jinja"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, spoil: Callable[[Path], None], words: str) -> None:
    folder = make_tiny_model(tmp_path / "model")
    check_model_folder(folder)
    spoil(folder)
    with pytest.raises(SalusError, match=words):
        check_model_folder(folder)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(SalusError, match=r"nowhere does not exist; give the path of a Hugging Face model folder"):
        check_model_folder(tmp_path / "nowhere")


def test_a_bare_adapter_is_told_apart(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(SalusError, match="a bare LoRA adapter: merge it into its base model"):
        check_model_folder(tmp_path)
