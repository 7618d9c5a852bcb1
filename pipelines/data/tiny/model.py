"""A small Llama of a stated size, with fresh weights that a seed decides."""

from __future__ import annotations

import torch
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from actors.errors import SalusError
from pipelines.data.tiny.config import TinyModelConfig


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
