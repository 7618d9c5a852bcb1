"""Pretraining of a tiny model on one machine's CPU: a plain AdamW loop over rows of like length.

Rows are grouped by length, so little is computed for nothing. They are padded on the right, so no attention mask is
needed: a causal model never looks right. The loss falls on each document's completion only.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.utils import logging

from actors.errors import SalusError
from actors.files.atomic import make_folder, move_into_place
from pipelines.data.tiny.config import PretrainConfig

Progress = Callable[[int, int, float], None]
# Batches whose rows are drawn together and then grouped by length.
_POOL_BATCHES = 64
# Row lengths and counts of learnt tokens are rounded up to multiples of these (see `_groups`).
_LENGTH_STEP = 8
_LEARNT_STEP = 512


class Document(NamedTuple):
    """One training text: `prompt` is read without loss, `completion` is learnt; special tokens may occur."""

    prompt: str
    completion: str


class _Row(NamedTuple):
    tokens: list[int]
    # The first position whose token is learnt.
    learn_from: int


def pretrain(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    documents: Sequence[Document],
    config: PretrainConfig,
    progress: Progress | None = None,
) -> float:
    """Train `model` in place for `config.steps` steps; returns the mean loss of the last 20, nats per token.

    `progress(step, steps, loss)` is called after every step. Raises SalusError for an empty corpus.
    """
    rows = _rows(tokenizer, documents, config.context_tokens)
    if not rows:
        raise SalusError("The pretraining corpus holds no document; give at least one.")
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=config.learning_rate,
        betas=(0.9, 0.95),
        weight_decay=config.weight_decay,
        fused=True,
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, config))
    pad = int(tokenizer.pad_token_id or 0)
    batches = _batches(rows, config, pad)
    losses: list[float] = []
    model.train()
    for step in range(1, config.steps + 1):
        loss = _loss(model, *next(batches))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        losses.append(float(loss.detach()))
        if progress is not None:
            progress(step, config.steps, losses[-1])
    model.eval()
    tail = losses[-20:]
    return sum(tail) / len(tail)


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> Path:
    """Write a Hugging Face folder (safetensors, tokenizer, template, generation config) in one rename."""
    partial = folder.with_name(f".{folder.name}.partial-{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    make_folder(partial)
    logging.disable_progress_bar()
    model.save_pretrained(partial, safe_serialization=True)
    tokenizer.save_pretrained(partial)
    if folder.exists():
        shutil.rmtree(folder)
    move_into_place(partial, folder)
    return folder


def _rate(step: int, config: PretrainConfig) -> float:
    """Linear warm-up, then a straight line down to the final share."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    done = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    return 1.0 - (1.0 - config.final_learning_rate_share) * min(1.0, done)


def _rows(tokenizer: PreTrainedTokenizerFast, documents: Sequence[Document], context: int) -> list[_Row]:
    if not documents:
        return []
    prompts = _ids(tokenizer, [d.prompt for d in documents])
    completions = _ids(tokenizer, [d.completion for d in documents])
    bos = int(tokenizer.bos_token_id or 0)
    rows: list[_Row] = []
    for prompt, completion in zip(prompts, completions, strict=True):
        tokens = [*prompt, *completion]
        learn_from = len(prompt)
        if not tokens or tokens[0] != bos:
            tokens, learn_from = [bos, *tokens], learn_from + 1
        rows.extend(_pieces(tokens, max(1, learn_from), context))
    return rows


def _ids(tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> list[list[int]]:
    # Without the masks and offsets that transformers would make of every text, in half the time.
    return [encoding.ids for encoding in tokenizer.backend_tokenizer.encode_batch_fast(texts, add_special_tokens=False)]


def _pieces(tokens: list[int], learn_from: int, context: int) -> Iterator[_Row]:
    """Cut at the context length; pieces with nothing to learn are dropped."""
    for start in range(0, len(tokens), context):
        piece = tokens[start : start + context]
        first = max(1, learn_from - start)
        if first < len(piece):
            yield _Row(piece, first)


def _batches(rows: list[_Row], config: PretrainConfig, pad: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Endless (tokens, learnt) batches, each of shape (rows, length), reshuffled every epoch."""
    rng = random.Random(config.seed)
    order = list(range(len(rows)))
    mean = max(1, sum(len(r.tokens) for r in rows) // len(rows))
    pool_rows = _POOL_BATCHES * max(1, config.batch_tokens // mean)
    while True:
        rng.shuffle(order)
        for start in range(0, len(order), pool_rows):
            pool = sorted(order[start : start + pool_rows], key=lambda i: len(rows[i].tokens))
            batches = list(_groups(pool, rows, config.batch_tokens))
            rng.shuffle(batches)
            for batch, length in batches:
                yield _padded([rows[i] for i in batch], length, pad)


def _groups(pool: list[int], rows: list[_Row], batch_tokens: int) -> Iterator[tuple[list[int], int]]:
    """(row indices, padded length) batches of a length-sorted pool, each about `batch_tokens` in size.

    Lengths are rounded up and every batch is full, because oneDNN compiles and keeps a kernel per matrix shape. Free
    shapes cost ten times the time and gigabytes.
    """
    by_length: dict[int, list[int]] = {}
    for index in pool:
        by_length.setdefault(-(-len(rows[index].tokens) // _LENGTH_STEP) * _LENGTH_STEP, []).append(index)
    left_over: list[int] = []
    longest = max(by_length)
    for length in sorted(by_length):
        members = left_over + by_length[length]
        size = max(1, batch_tokens // length)
        full = len(members) // size * size
        for start in range(0, full, size):
            yield members[start : start + size], length
        # What fills no batch goes up with the next longer rows; the very last batch repeats its rows.
        left_over = members[full:]
        if left_over and length == longest:
            yield [left_over[i % len(left_over)] for i in range(size)], length


def _padded(rows: list[_Row], length: int, pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    tokens = torch.full((len(rows), length), pad, dtype=torch.long)
    learnt = torch.zeros((len(rows), length), dtype=torch.bool)
    for index, row in enumerate(rows):
        tokens[index, : len(row.tokens)] = torch.tensor(row.tokens)
        learnt[index, row.learn_from : len(row.tokens)] = True
    return tokens, learnt


def _loss(model: LlamaForCausalLM, tokens: torch.Tensor, learnt: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy over the learnt tokens; logits are computed for those positions alone.

    bfloat16 is only worth it on CPUs with AMX tiles, and there only with plain-math attention. The fused kernel's
    bfloat16 backward pass took half of the step's time on torch 2.13.
    """
    bf16 = torch.cpu._is_amx_tile_supported()
    # Positions whose next token is learnt, filled up with the first position, whose loss is ignored.
    chosen = torch.nonzero(learnt[:, 1:].flatten()).flatten()
    padding = -len(chosen) % _LEARNT_STEP
    targets = torch.cat([tokens[:, 1:].flatten()[chosen], torch.full((padding,), -100)])
    chosen = torch.cat([chosen, torch.zeros(padding, dtype=torch.long)])
    with sdpa_kernel(SDPBackend.MATH), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        hidden = model.model(input_ids=tokens, use_cache=False).last_hidden_state[:, :-1]
        logits = model.lm_head(hidden.flatten(0, 1)[chosen])
    return torch.nn.functional.cross_entropy(logits.float(), targets)
