"""How much memory a model needs to be served and to be trained, from its folder or from its size alone.

Estimates for the plan: good enough to refuse what cannot fit, not to squeeze in what barely does.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from actors.contract.records import ChallengerName, Record, RowKind
from actors.engine.model_files import read_json, tensor_shapes, weight_files
from actors.errors import SalusError
from actors.training.algorithms.table import row_of
from actors.training.config import JudgeTrainConfig, LoraSettings, TrainConfig, Workers

if TYPE_CHECKING:
    from pipelines.data.tiny.config import TinyModelConfig

GIB = 2**30
BYTES: dict[str, int] = {"float32": 4, "bfloat16": 2, "float16": 2}
# Adam in mixed precision: 2 weight + 2 gradient + 4 master + 4 momentum + 4 variance (ZeRO, arXiv 1910.02054,
# 3.1); in plain float32 4 + 4 + 4 + 4, the same.
TRAINED_PARAMETER_BYTES = 16
# TRL 1.16 multiplies hidden states by the output head in tiles of 4,096 tokens by 32,768 entries of the vocabulary.
HEAD_TILE_TOKENS, HEAD_TILE_ENTRIES = 4096, 32_768
# Float32 logits, their log-softmax and their gradient, in those of TRL's trainers that still make the logits.
LOGIT_COPIES = 3
# The sequences of a row that gradients flow through: chosen and rejected of a pair, or one answer. The KL term of KTO
# has none.
SEQUENCES: dict[RowKind, int] = {"pairs": 2, "unpaired": 1, "demonstrations": 1}


class Shape(Record):
    """What of a model's architecture decides its memory."""

    parameters: float = Field(gt=0)
    layers: int
    hidden: int
    # Width of all key heads of one layer together.
    kv_width: int
    vocabulary: int
    # Width of the feed-forward layer.
    intermediate: int
    # Attention heads of one layer, and those of keys among them; 0: not known.
    heads: int = 0
    kv_heads: int = 0


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
    key heads of 128, and Llama 3's vocabulary. Its feed-forward layer is 3.5 times as wide as the hidden states.
    """
    layers = max(1, round((parameters_b * 1e9 / (12 * 128**2)) ** (1 / 3)))
    return Shape(
        parameters=parameters_b * 1e9,
        layers=layers,
        hidden=128 * layers,
        kv_width=8 * 128,
        vocabulary=128_256,
        intermediate=448 * layers,
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
        intermediate=config.intermediate,
        heads=config.heads,
        kv_heads=config.kv_heads,
    )


def weights_gib(shape: Shape, dtype: str) -> float:
    """The weights alone."""
    return shape.parameters * BYTES[dtype] / GIB


def kv_gib(shape: Shape, tokens: int, dtype: str) -> float:
    """Keys and values of `tokens` tokens: 2 * layers * kv_width * bytes each (arXiv 2309.06180, 3)."""
    return 2 * shape.layers * shape.kv_width * BYTES[dtype] * tokens / GIB


def kv_gib_each(shape: Shape, tokens: int, dtype: str, parallel: int) -> float:
    """The part of `kv_gib` on each of an engine's GPUs; one with more GPUs than key heads keeps copies of them."""
    return kv_gib(shape, tokens, dtype) / min(parallel, shape.kv_heads or parallel)


def check_tensor_parallel(shape: Shape, parallel: int, setting: str) -> None:
    """Refuse to split a model as vLLM cannot: heads are never divided, and key heads are divided or copied evenly.

    Args:
        shape: of the model; where its heads are not known, nothing is refused.
        parallel: GPUs that one engine spans.
        setting: where that is set, as "generate.engine.tensor_parallel".

    Raises:
        SalusError: names the heads, and the numbers of GPUs that divide them.
    """
    if not shape.heads or _splits(shape, parallel):
        return
    good = [str(number) for number in range(1, shape.heads + 1) if _splits(shape, number)]
    raise SalusError(
        f"{setting}={parallel} does not divide the {shape.heads} attention heads and {shape.kv_heads} key heads of its"
        f" model; set one of {', '.join(good)}."
    )


def _splits(shape: Shape, parallel: int) -> bool:
    evenly = not shape.kv_heads or shape.kv_heads % parallel == 0 or parallel % shape.kv_heads == 0
    return shape.heads % parallel == 0 and evenly


def training_gib(shape: Shape, config: TrainConfig, challenger: ChallengerName, dtype: str) -> float:
    """Memory of one worker of a challenger on its device, model and activations.

    LoRA: frozen weights once (the reference is the same model without the adapter; a second copy for
    reference `base`) and 16 bytes per adapter parameter. Full: 16 bytes per parameter and the reference's
    weights in float32, as they are loaded. FSDP divides the model, not the activations, by the workers.
    """
    weights, settings = weights_gib(shape, dtype), config.challengers[challenger]
    row = row_of(settings)
    if config.lora is None:
        reference = weights_gib(shape, "float32") if row.reference else 0.0
        model = shape.parameters * TRAINED_PARAMETER_BYTES / GIB + reference
    else:
        copies = 2 if config.reference == "base" and row.reference else 1
        model = copies * weights + _adapter_gib(shape, config.lora)
    tokens = SEQUENCES[row.rows] * settings.batch_size * config.max_length_tokens
    logits = LOGIT_COPIES * 4 * tokens * shape.vocabulary / GIB if row.full_logits else 0.0
    return _sharded(model, config) + _activations_gib(shape, tokens, config, dtype) + logits


def loading_gib(shape: Shape, config: TrainConfig, challenger: ChallengerName, dtype: str) -> float:
    """Host memory through which one worker's weights pass when they are loaded, and when they are written.

    LoRA: the weights. Full: in float32, and once more for a loss with a reference; each worker loads them whole.
    """
    if config.lora is not None:
        return weights_gib(shape, dtype)
    copies = 2 if row_of(config.challengers[challenger]).reference else 1
    return copies * weights_gib(shape, "float32")


def judge_training_gib(shape: Shape, config: JudgeTrainConfig, tokens_per_row: int, dtype: str) -> float:
    """Memory of one worker that fine-tunes a judge: frozen weights once, the adapter, one sequence a row."""
    model = weights_gib(shape, dtype) + _adapter_gib(shape, config.lora)
    tokens = config.batch_size * tokens_per_row
    return _sharded(model, config) + _activations_gib(shape, tokens, config, dtype)


def adapter_parameters(shape: Shape, rank: int) -> int:
    """Of a LoRA adapter on all linear layers but the head; each has rank * (inputs + outputs) (arXiv 2106.09685, 4.1).

    Per layer: queries and output 2 * 2h, keys and values 2 * (h + kv), feed-forward 3 * (h + f).
    """
    return shape.layers * rank * (9 * shape.hidden + 2 * shape.kv_width + 3 * shape.intermediate)


def _adapter_gib(shape: Shape, lora: LoraSettings) -> float:
    return adapter_parameters(shape, lora.rank) * TRAINED_PARAMETER_BYTES / GIB


def saved_gib(shape: Shape, lora: LoraSettings | None, weights: float) -> float:
    """A checkpoint of a training: the adapter, or all weights of `weights` GiB, and Adam's two moments of it."""
    return 3 * weights if lora is None else _adapter_gib(shape, lora)


def _sharded(model_gib: float, workers: Workers) -> float:
    return model_gib / workers.workers_per_run if workers.fsdp else model_gib


def saved_bytes(shape: Shape, dtype: str) -> float:
    """What one layer keeps of one token for its backward pass, under autocast and with LoRA on its linear layers.

    Each adapter keeps its own 16-bit copy of its input: 12 h for six, 2 f for the last. The two norms keep float32
    inputs, 8 h; attention its queries, keys, values and output, 4 h + 4 kv; the gate 6 f. The attention matrix is
    never stored. Counted as autograd does by `tests/pipelines/cluster/test_saved_tensors.py`.
    """
    scale = BYTES[dtype] / 2
    return 24 * shape.hidden + scale * (8 * shape.intermediate + 4 * shape.kv_width)


def backward_bytes(shape: Shape, dtype: str) -> float:
    """What the backward pass of one layer holds of one token beside it at most: gradients, in float32 where LoRA's are.

    Our count of a Llama layer's largest moment, in its feed-forward part.
    """
    return BYTES[dtype] / 2 * (4 * shape.hidden + 8 * shape.intermediate)


def _activations_gib(shape: Shape, tokens: int, workers: Workers, dtype: str) -> float:
    """Activations of `tokens` tokens at the largest moment of a step: in a layer's backward pass, or in the head's."""
    scale = BYTES[dtype] / 2
    saved = tokens * saved_bytes(shape, dtype)
    working = tokens * backward_bytes(shape, dtype)
    # The tile's logits, and the gradient of the hidden states in float32 and as it goes on.
    tile = 2 * scale * min(tokens, HEAD_TILE_TOKENS) * min(shape.vocabulary, HEAD_TILE_ENTRIES)
    head = tile + (4 + 2 * scale) * tokens * shape.hidden
    # The embedded prompt, the last norm's float32 input and what goes into the head.
    ends = tokens * shape.hidden * (4 + 2 * 2 * scale)
    if workers.gradient_checkpointing:
        # Checkpointing keeps each layer's input and recomputes one layer at a time.
        inputs = shape.layers * 2 * scale * tokens * shape.hidden
        return (inputs + ends + max(saved + working, head)) / GIB
    return (shape.layers * saved + ends + max(working, head)) / GIB


def _from_config(config: dict[str, Any], parameters: int) -> Shape:
    # Multimodal configs keep the language model's under this key.
    text: dict[str, Any] = config.get("text_config") or config
    guess = shape_of_size(parameters / 1e9)
    hidden = int(text.get("hidden_size", guess.hidden))
    heads = int(text.get("num_attention_heads", max(1, hidden // 128)))
    kv_heads = int(text.get("num_key_value_heads") or heads)
    head = int(text.get("head_dim") or hidden // heads)
    return Shape(
        parameters=parameters,
        layers=int(text.get("num_hidden_layers", guess.layers)),
        hidden=hidden,
        kv_width=kv_heads * head,
        vocabulary=int(text.get("vocab_size", guess.vocabulary)),
        intermediate=int(text.get("intermediate_size") or 7 * hidden // 2),
        heads=heads if "num_attention_heads" in text else 0,
        kv_heads=kv_heads,
    )
