"""A small Llama of a stated size, with fresh weights that a seed decides."""

from __future__ import annotations

import torch
from pydantic import BaseModel, ConfigDict, Field
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from actors.errors import SalusError


class TinyModelConfig(BaseModel):
    """The shape of a tiny Llama; the defaults give about 3.2 million parameters."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    hidden: int = Field(default=256, ge=8, description="width of the residual stream")
    layers: int = Field(default=3, ge=1)
    heads: int = Field(default=4, ge=1, description="query heads; must divide `hidden`")
    kv_heads: int = Field(default=2, ge=1, description="key/value heads; must divide `heads`")
    intermediate: int = Field(default=1024, ge=8, description="width of the gated feed-forward layer")
    vocabulary: int = Field(default=1024, ge=1, description="most tokens the tokenizer may have")
    max_positions: int = Field(default=256, ge=8, description="longest prompt + answer in tokens")
    seed: int = Field(default=0, description="decides the fresh weights")


def build_llama(config: TinyModelConfig, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """A Llama with random float32 weights (seeded), tied embeddings, and the tokenizer's ids in its configs.

    Raises SalusError where the heads do not divide the width.
    """
    if config.hidden % config.heads or config.heads % config.kv_heads:
        raise SalusError(
            f"A tiny model of hidden {config.hidden} cannot have {config.heads} heads and "
            f"{config.kv_heads} kv_heads; let heads divide hidden and kv_heads divide heads."
        )
    llama = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=config.hidden,
        intermediate_size=config.intermediate,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        num_key_value_heads=config.kv_heads,
        max_position_embeddings=config.max_positions,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = LlamaForCausalLM(llama)
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return model
