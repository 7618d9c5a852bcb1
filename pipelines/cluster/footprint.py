"""How much memory a model needs to be served and to be trained, from its folder or from its size alone.

Estimates for the plan: good enough to refuse what cannot fit, not to squeeze in what barely does.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from actors.contract.records import Record
from actors.engine.model_files import read_json, tensor_shapes, weight_files
from actors.errors import SalusError
from actors.training.algorithms.table import ALGORITHMS
from actors.training.config import JudgeTrainConfig, LoraSettings, TrainConfig, Workers

if TYPE_CHECKING:
    from pipelines.data.tiny.config import TinyModelConfig

GIB = 2**30
BYTES: dict[str, int] = {"float32": 4, "bfloat16": 2, "float16": 2}
# Adam in mixed precision: 2 weight + 2 gradient + 4 master + 4 momentum + 4 variance (ZeRO, arXiv 1910.02054,
# 3.1); in plain float32 4 + 4 + 4 + 4, the same.
TRAINED_PARAMETER_BYTES = 16
# Of one layer, 16-bit, without the attention matrix, which fused attention never stores: 34 * tokens * hidden
# (Korthikanti et al., arXiv 2205.05198, Eq. 2).
ACTIVATION_BYTES = 34
# Float32 logits, their log-softmax and their gradient.
LOGIT_COPIES = 3
# A preference step runs two sequences per row: chosen and rejected of a pair, answer and its KL neighbour (KTO).
SEQUENCES_PER_ROW = 2
# LoRA parameters per model parameter and rank, on all linear layers: 41.9 M for rank 16 on Llama-3.1-8B.
LORA_SHARE_PER_RANK = 41.9e6 / 16 / 8.03e9


class Shape(Record):
    """What of a model's architecture decides its memory."""

    parameters: float = Field(gt=0)
    layers: int
    hidden: int
    # Width of all key heads of one layer together.
    kv_width: int
    vocabulary: int


def shape_of_folder(folder: Path) -> Shape:
    """The shape of a model on disk; parameters are counted in the safetensors headers, weights are not read.

    Raises:
        SalusError: config.json or a weight file cannot be read.
    """
    config = read_json(folder / "config.json")
    parameters = sum(math.prod(shape) for file in weight_files(folder) for shape in tensor_shapes(file).values())
    if not parameters:
        raise SalusError(f"Model folder {folder} has no .safetensors weights; save it with save_pretrained().")
    return _from_config(config, parameters)


def shape_of_size(parameters_b: float) -> Shape:
    """A usual shape for a model of `parameters_b` 10^9 parameters that is not on disk.

    12 * layers * hidden^2 parameters with hidden = 128 * layers (Kaplan et al., arXiv 2001.08361, 2.1), eight
    key heads of 128, and Llama 3's vocabulary.
    """
    layers = max(1, round((parameters_b * 1e9 / (12 * 128**2)) ** (1 / 3)))
    return Shape(
        parameters=parameters_b * 1e9,
        layers=layers,
        hidden=128 * layers,
        kv_width=8 * 128,
        vocabulary=128_256,
    )


def shape_of_tiny(config: TinyModelConfig) -> Shape:
    """The shape of a tiny Llama that Salus builds itself (tied embeddings)."""
    kv_width = config.hidden // config.heads * config.kv_heads
    attention = 2 * config.hidden * (config.hidden + kv_width)
    layer = attention + 3 * config.hidden * config.intermediate + 2 * config.hidden
    return Shape(
        parameters=config.vocabulary * config.hidden + config.layers * layer + config.hidden,
        layers=config.layers,
        hidden=config.hidden,
        kv_width=kv_width,
        vocabulary=config.vocabulary,
    )


def weights_gib(shape: Shape, dtype: str) -> float:
    """The weights alone."""
    return shape.parameters * BYTES[dtype] / GIB


def kv_gib(shape: Shape, tokens: int, dtype: str) -> float:
    """Keys and values of `tokens` tokens: 2 * layers * kv_width * bytes each (arXiv 2309.06180, 3)."""
    return 2 * shape.layers * shape.kv_width * BYTES[dtype] * tokens / GIB


def training_gib(shape: Shape, config: TrainConfig, dtype: str) -> float:
    """Memory of one training worker on its device, model and activations.

    LoRA: frozen weights once (the reference is the same model without the adapter; a second copy for
    reference `base`) and 16 bytes per adapter parameter. Full: 16 bytes per parameter and the reference's
    weights. FSDP divides the model, not the activations, by the workers.
    """
    weights = weights_gib(shape, dtype)
    if config.lora is None:
        model = shape.parameters * TRAINED_PARAMETER_BYTES / GIB + weights
    else:
        compared = any(ALGORITHMS[algorithm].reference for algorithm in config.algorithms.values())
        copies = 2 if config.reference == "base" and compared else 1
        model = copies * weights + _adapter_gib(shape, config.lora)
    largest = max(settings.batch_size for settings in config.challengers.values())
    tokens = SEQUENCES_PER_ROW * largest * config.max_length_tokens
    return _sharded(model, config) + _activations_gib(shape, tokens, config, dtype)


def judge_training_gib(shape: Shape, config: JudgeTrainConfig, tokens_per_row: int, dtype: str) -> float:
    """Memory of one worker that fine-tunes a judge: frozen weights once, the adapter, one sequence a row."""
    model = weights_gib(shape, dtype) + _adapter_gib(shape, config.lora)
    tokens = config.batch_size * tokens_per_row
    return _sharded(model, config) + _activations_gib(shape, tokens, config, dtype)


def _adapter_gib(shape: Shape, lora: LoraSettings) -> float:
    return shape.parameters * LORA_SHARE_PER_RANK * lora.rank * TRAINED_PARAMETER_BYTES / GIB


def _sharded(model_gib: float, workers: Workers) -> float:
    return model_gib / workers.workers_per_run if workers.fsdp else model_gib


def _activations_gib(shape: Shape, tokens: int, workers: Workers, dtype: str) -> float:
    """Activations and logits of `tokens` tokens in one forward pass."""
    scale = BYTES[dtype] / 2
    layer = ACTIVATION_BYTES * scale * tokens * shape.hidden
    # Checkpointing keeps each layer's input and recomputes one layer at a time.
    inputs = shape.layers * 2 * scale * tokens * shape.hidden
    kept = inputs + layer if workers.gradient_checkpointing else shape.layers * layer
    logits = LOGIT_COPIES * 4 * tokens * shape.vocabulary
    return (kept + logits) / GIB


def _from_config(config: dict[str, Any], parameters: int) -> Shape:
    # Multimodal configs keep the language model's under this key.
    text: dict[str, Any] = config.get("text_config") or config
    guess = shape_of_size(parameters / 1e9)
    hidden = int(text.get("hidden_size", guess.hidden))
    heads = int(text.get("num_attention_heads", max(1, hidden // 128)))
    head = int(text.get("head_dim") or hidden // heads)
    return Shape(
        parameters=parameters,
        layers=int(text.get("num_hidden_layers", guess.layers)),
        hidden=hidden,
        kv_width=int(text.get("num_key_value_heads", heads)) * head,
        vocabulary=int(text.get("vocab_size", guess.vocabulary)),
    )
