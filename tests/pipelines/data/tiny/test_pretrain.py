"""A few steps of pretraining: the loss falls, seeds decide, the folder reloads."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

from actors.errors import SalusError
from pipelines.data.tiny.config import PretrainConfig, TinyModelConfig
from pipelines.data.tiny.model import build_llama
from pipelines.data.tiny.pretrain import Document, pretrain, save
from pipelines.data.tiny.tokenizer import chat_answer, chat_prompt, train_tokenizer

TOKENIZER = train_tokenizer(["red green blue"] * 20, 300)
SHAPE = TinyModelConfig(hidden=32, layers=1, heads=2, kv_heads=1, intermediate=64, max_positions=64)
DOCUMENTS = [Document(chat_prompt(c), chat_answer(c)) for c in ("red", "green", "blue")] * 20
SHORT = PretrainConfig(steps=5, batch_tokens=128, warmup_steps=1)


def trained(config: PretrainConfig) -> tuple[LlamaForCausalLM, list[float]]:
    model = build_llama(SHAPE, TOKENIZER)
    losses: list[float] = []
    pretrain(model, TOKENIZER, DOCUMENTS, config, lambda step, steps, loss: losses.append(loss))
    return model, losses


def test_five_steps_save_and_reload(tmp_path: Path) -> None:
    model, losses = trained(SHORT)
    assert len(losses) == 5
    folder = save(model, TOKENIZER, tmp_path / "model")
    assert save(model, TOKENIZER, folder) == folder
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
    loaded = AutoModelForCausalLM.from_pretrained(folder)
    tokens = torch.tensor([TOKENIZER(chat_prompt("red"))["input_ids"]])
    torch.testing.assert_close(loaded(tokens).logits, model(tokens).logits)
    assert loaded.generation_config.eos_token_id == AutoTokenizer.from_pretrained(folder).eos_token_id


def test_the_loss_falls_and_the_seed_decides() -> None:
    longer = SHORT.model_copy(update={"steps": 40, "learning_rate": 1e-2})
    _, losses = trained(longer)
    assert losses[-1] < losses[0] / 2
    assert trained(longer)[1] == losses
    assert trained(longer.model_copy(update={"seed": 1}))[1] != losses


def test_long_documents_are_cut_and_short_contexts_hold() -> None:
    model = build_llama(SHAPE, TOKENIZER)
    loss = pretrain(
        model, TOKENIZER, [Document("", "red green " * 200)], SHORT.model_copy(update={"context_tokens": 16})
    )
    assert loss > 0


def test_an_empty_corpus_is_refused() -> None:
    with pytest.raises(SalusError, match="no document"):
        pretrain(build_llama(SHAPE, TOKENIZER), TOKENIZER, [], SHORT)


def test_heads_that_do_not_divide_are_refused() -> None:
    with pytest.raises(SalusError, match="heads"):
        build_llama(SHAPE.model_copy(update={"heads": 3}), TOKENIZER)
