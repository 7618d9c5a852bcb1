"""The plan's bytes of a layer against those that autograd keeps of a real Llama under autocast, with LoRA in it."""

from __future__ import annotations

import pytest
import torch
from peft import get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

from actors.training.config import LoraSettings
from actors.training.trl import lora_config, silence
from pipelines.cluster.footprint import Shape, adapter_parameters, saved_bytes

pytestmark = pytest.mark.usefixtures("one_thread")


def shape(layers: int, wide: int) -> Shape:
    return Shape(parameters=1, layers=layers, hidden=128, kv_width=64, vocabulary=64, intermediate=wide)


def kept(shape: Shape, tokens: int) -> tuple[int, int]:
    """Bytes that a forward pass keeps beside the weights, and the adapter's parameters."""
    config = LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        pad_token_id=0,
    )
    base = LlamaForCausalLM(config).bfloat16()
    model = get_peft_model(base, lora_config(LoraSettings(rank=4)))
    weights = {each.untyped_storage().data_ptr() for each in model.parameters()}
    saved: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            saved[storage.data_ptr()] = storage
        return tensor

    ids = torch.randint(0, shape.vocabulary, (1, tokens))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda each: each), torch.autocast("cpu", torch.bfloat16):
        base.model(ids)
    total = sum(storage.nbytes() for storage in saved.values())
    return total, sum(each.numel() for each in model.parameters() if each.requires_grad)


@pytest.mark.parametrize("wide", [448, 512, 128])
def test_a_layer_keeps_the_planned_bytes_of_a_token(wide: int) -> None:
    silence()
    counted = {(layers, tokens): kept(shape(layers, wide), tokens)[0] for layers in (1, 2) for tokens in (16, 80)}
    # Per token and layer: neither what is kept once nor what both ends keep.
    a_layer = (counted[2, 80] - counted[2, 16] - counted[1, 80] + counted[1, 16]) / 64
    assert a_layer == pytest.approx(saved_bytes(shape(1, wide), "bfloat16"), rel=0.05)


def test_an_adapter_has_the_planned_parameters() -> None:
    silence()
    assert kept(shape(2, 448), 16)[1] == adapter_parameters(shape(2, 448), 4)
