"""Memory estimates against hand-computed figures and a model on disk."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from actors.errors import SalusError
from actors.training.algorithms.dpo import DpoConfig
from actors.training.algorithms.kto import KtoConfig
from actors.training.algorithms.settings import ChallengerConfig
from actors.training.algorithms.table import ALGORITHMS
from actors.training.config import LoraSettings, TrainConfig
from pipelines.cluster.footprint import (
    GIB,
    Shape,
    adapter_parameters,
    kv_gib,
    loading_gib,
    shape_of_folder,
    shape_of_size,
    shape_of_tiny,
    training_gib,
    weights_gib,
)
from pipelines.data.tiny.config import TinyModelConfig

# Llama-3.1-8B: 8.03 B parameters, 32 layers, 8 key heads of 128.
LLAMA_8B = Shape(parameters=8.03e9, layers=32, hidden=4096, kv_width=1024, vocabulary=128_256, intermediate=14_336)
# Llama-3.2-3B.
LLAMA_3B = Shape(parameters=3.21e9, layers=28, hidden=3072, kv_width=1024, vocabulary=128_256, intermediate=8192)


def test_weights_of_8b_in_bfloat16() -> None:
    assert weights_gib(LLAMA_8B, "bfloat16") == pytest.approx(14.96, abs=0.01)


def test_kv_cache_of_8b_is_128_kib_a_token() -> None:
    assert kv_gib(LLAMA_8B, 8192, "bfloat16") == pytest.approx(1.0)


@pytest.mark.parametrize("parameters_b", [1.2, 3.2, 8.0, 70.0])
def test_shape_from_size_has_that_size(parameters_b: float) -> None:
    shape = shape_of_size(parameters_b)
    assert shape.parameters == parameters_b * 1e9
    assert 12 * shape.layers * shape.hidden**2 == pytest.approx(shape.parameters, rel=0.2)


def test_full_fine_tune_takes_16_bytes_a_parameter_and_4_for_the_reference() -> None:
    config = TrainConfig(lora=None, workers_per_run=1, max_length_tokens=1, gradient_checkpointing=True)
    assert training_gib(LLAMA_8B, config, "dpo", "bfloat16") == pytest.approx(8.03e9 * 20 / GIB, rel=0.01)


def test_fsdp_divides_the_model_by_the_workers() -> None:
    config = TrainConfig(lora=None, workers_per_run=8, max_length_tokens=1, gradient_checkpointing=True)
    whole = training_gib(LLAMA_8B, config, "dpo", "bfloat16")
    sharded = training_gib(LLAMA_8B, config.model_copy(update={"fsdp": True}), "dpo", "bfloat16")
    assert sharded == pytest.approx(whole / 8, rel=0.05)


def test_lora_takes_little_more_than_the_weights() -> None:
    config = TrainConfig(lora=LoraSettings(rank=16), max_length_tokens=1, gradient_checkpointing=True)
    needed = training_gib(LLAMA_8B, config, "dpo", "bfloat16")
    # 41.9 M adapter parameters of 16 bytes.
    assert needed == pytest.approx(weights_gib(LLAMA_8B, "bfloat16") + 41.9e6 * 16 / GIB, rel=0.02)


def test_an_adapter_has_the_parameters_of_its_matrices() -> None:
    # PEFT prints 41,943,040 for rank 16 on all linear layers of Llama-3.1-8B.
    assert adapter_parameters(LLAMA_8B, 16) == 41_943_040


@pytest.mark.parametrize(
    ("shape", "batch", "expected_gib"),
    [
        # By hand: weights 15.0, adapter with Adam .6, layer inputs 1.5, one layer 1.2, its gradients .8, both ends .2.
        (LLAMA_8B, 2, 19.3),
        # 6.0, .4, 2.0, 1.6, .9 and .3.
        (LLAMA_3B, 4, 11.2),
    ],
)
def test_a_dpo_worker_with_checkpointing_takes_what_it_takes_by_hand(
    shape: Shape, batch: int, expected_gib: float
) -> None:
    config = TrainConfig(
        challengers={"dpo": DpoConfig(batch_size=batch), "kto": KtoConfig(batch_size=batch)},
        max_length_tokens=1536,
        gradient_checkpointing=True,
    )
    needed = training_gib(shape, config, "dpo", "bfloat16")
    assert needed == pytest.approx(expected_gib, rel=0.02)
    # KTO's gradients flow through one answer a row.
    assert training_gib(shape, config, "kto", "bfloat16") < needed


def test_only_trainers_without_a_tiled_head_make_logits() -> None:
    kinds: dict[str, ChallengerConfig] = {name: row.settings(batch_size=2) for name, row in ALGORITHMS.items()}
    config = TrainConfig().model_copy(update={"challengers": kinds})
    needed = {name: training_gib(LLAMA_8B, config, name, "bfloat16") for name in kinds}
    assert needed["dpo"] == needed["ipo"] == needed["bco"]
    assert needed["orpo"] == needed["cpo"] == needed["slic"]
    assert needed["slic"] - needed["dpo"] == pytest.approx(3 * 4 * (2 * 2 * 512) * 128_256 / GIB)


def test_a_loss_without_a_reference_needs_no_second_copy() -> None:
    kinds: dict[str, ChallengerConfig] = {name: row.settings(batch_size=2) for name, row in ALGORITHMS.items()}
    config = TrainConfig().model_copy(update={"challengers": kinds, "lora": None})
    loaded = {name: loading_gib(LLAMA_8B, config, name, "bfloat16") for name in kinds}
    assert loaded["ipo"] == 2 * loaded["cpo"]


def test_base_as_reference_is_a_second_copy() -> None:
    config = TrainConfig(max_length_tokens=1)
    more = training_gib(LLAMA_8B, config.model_copy(update={"reference": "base"}), "dpo", "bfloat16")
    assert more - training_gib(LLAMA_8B, config, "dpo", "bfloat16") == pytest.approx(14.96, abs=0.01)


def test_checkpointing_saves_activations() -> None:
    config = TrainConfig(max_length_tokens=1024)
    saved = training_gib(LLAMA_8B, config.model_copy(update={"gradient_checkpointing": True}), "dpo", "bfloat16")
    assert saved < training_gib(LLAMA_8B, config, "dpo", "bfloat16")


def test_folder_is_counted_from_its_headers(tmp_path: Path) -> None:
    save_file({"a": np.zeros((10, 20), np.float32), "b": np.zeros(7, np.float16)}, tmp_path / "model-1.safetensors")
    save_file({"c": np.zeros((3, 4, 5), np.float32)}, tmp_path / "model-2.safetensors")
    config = {
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 100,
        "intermediate_size": 96,
    }
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert shape_of_folder(tmp_path) == Shape(
        parameters=10 * 20 + 7 + 3 * 4 * 5,
        layers=2,
        hidden=64,
        kv_width=32,
        vocabulary=100,
        intermediate=96,
        heads=4,
        kv_heads=2,
    )


def test_tiny_model_has_the_parameters_it_will_have() -> None:
    config = TinyModelConfig()
    attention = 256 * 256 + 2 * 256 * 128 + 256 * 256
    expected = 1024 * 256 + 3 * (attention + 3 * 256 * 1024 + 2 * 256) + 256
    assert shape_of_tiny(config).parameters == expected


@pytest.mark.parametrize("weights", [None, b"short", b"\xff" * 16, b"\x02\0\0\0\0\0\0\0{]"])
def test_unreadable_folder_is_one_sentence(tmp_path: Path, weights: bytes | None) -> None:
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    if weights is not None:
        (tmp_path / "model.safetensors").write_bytes(weights)
    with pytest.raises(SalusError, match=r"safetensors|cannot be read") as caught:
        shape_of_folder(tmp_path)
    assert str(tmp_path) in caught.value.sentence


def test_config_that_is_not_json_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{", encoding="utf-8")
    with pytest.raises(SalusError, match="cannot be read"):
        shape_of_folder(tmp_path)
