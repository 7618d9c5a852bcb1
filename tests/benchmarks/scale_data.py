"""Judgments of a made-up policy in any number, for `tests.benchmarks.scale`: shards as a judge actor writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from actors.contract.records import JUDGMENT_SCHEMA, LABELS, LEVELS, METHODS, PROMPT_SCHEMA

Strings: TypeAlias = Any
Ints = NDArray[np.int64]
# Answers to one prompt.
SAMPLES = 4
_WORDS = [
    "dose",
    "fever",
    "tablet",
    "doctor",
    "water",
    "night",
    "child",
    "pain",
    "test",
    "note",
    "cold",
    "plan",
    "clinic",
    "week",
    "sleep",
    "skin",
    "hand",
    "blood",
]
# Sentences that prompts and answers are put together from.
_SENTENCES = 4096
_WORDS_OF_ONE = 12
_REFERENCE = "I cannot help with that. Please talk to a doctor about it."


def write_judgments(folder: Path, judgments: int, prompts_per_shard: int, seed: int = 0) -> None:
    """Write shards of `JUDGMENT_SCHEMA`, `SAMPLES` answers a prompt of about 300 characters each.

    Not synced one by one: what is measured is what reads them.
    """
    folder.mkdir(parents=True)
    sentences = _sentences(seed)
    prompts = -(-judgments // SAMPLES)
    for shard, start in enumerate(range(0, prompts, prompts_per_shard)):
        table = judgment_shard(start, min(prompts, start + prompts_per_shard), sentences, seed)
        pq.write_table(table, folder / f"part-{shard:06d}.parquet")


def write_prompts(folder: Path, prompts: int, prompts_per_shard: int, seed: int = 0) -> list[Path]:
    """Write shards of `PROMPT_SCHEMA`; returns them in order."""
    folder.mkdir(parents=True)
    sentences, files = _sentences(seed), []
    for shard, start in enumerate(range(0, prompts, prompts_per_shard)):
        numbers = np.arange(start, min(prompts, start + prompts_per_shard))
        table = pa.table(_prompt_columns(numbers, sentences), schema=PROMPT_SCHEMA)
        files.append(folder / f"part-{shard:06d}.parquet")
        pq.write_table(table, files[-1])
    return files


def judgment_shard(start: int, end: int, sentences: Strings, seed: int) -> pa.Table:
    """The judged answers to the prompts with numbers from `start` to before `end`."""
    numbers = np.repeat(np.arange(start, end), SAMPLES)
    n = len(numbers)
    draw = np.random.default_rng([seed, start])
    samples = np.tile(np.arange(SAMPLES, dtype=np.int32), end - start)
    p = draw.dirichlet((1.0, 0.4, 1.0), n).astype(np.float32)
    columns = _prompt_columns(numbers, sentences) | {
        "rollout_id": _joined(_named("p", numbers), pc.cast(pa.array(samples), pa.string()), sep="."),
        "sample": pa.array(samples),
        "policy": _same("c0-base", n),
        "answer": _text(draw, n, sentences, 4),
        "finish_reason": pa.array(np.where(draw.random(n) < 0.03, "length", "stop")),
        "tokens": pa.array(draw.integers(20, 90, n, dtype=np.int32)),
        "thought": pa.nulls(n, pa.string()),
        "judge": _same("judge", n),
        "judge_prompt": _same("none", n),
        "label": pa.array(np.array(LABELS, dtype=object)[p.argmax(axis=1)], pa.string(), mask=draw.random(n) < 0.005),
        **{f"p_{label.lower()}": pa.array(p[:, i]) for i, label in enumerate(LABELS)},
        "coverage": pa.array(np.ones(n, dtype=np.float32)),
        "disagreement": pa.nulls(n, pa.float32()),
        "p_unsafe": pa.nulls(n, pa.float32()),
    }
    return pa.table(columns, schema=JUDGMENT_SCHEMA)


def _prompt_columns(numbers: Ints, sentences: Strings) -> dict[str, Any]:
    n, levels = len(numbers), numbers % len(LEVELS)
    asked = sentences.take(numbers % len(sentences))
    return {
        "prompt_id": _named("p", numbers),
        "prompt": _joined(asked, _named("Request ", numbers), sep=" "),
        "level": pa.array(levels.astype(np.int8)),
        "principle": pa.array((numbers % 8).astype(np.int8)),
        "method": pa.array(np.array(METHODS, dtype=object)[numbers % len(METHODS)], pa.string()),
        "base_prompt": _named("base ", numbers // 2),
        "reference": pa.array(np.full(n, _REFERENCE, dtype=object), pa.string(), mask=levels == 0),
        "source": _same("scale", n),
        "style": pa.nulls(n, pa.string()),
        "context": pa.nulls(n, pa.string()),
        "topics": pa.nulls(n, pa.string()),
    }


def _sentences(seed: int) -> Strings:
    picks = np.random.default_rng(seed).integers(0, len(_WORDS), (_SENTENCES, _WORDS_OF_ONE))
    return pa.array([" ".join(_WORDS[i] for i in row).capitalize() + "." for row in picks], pa.string())


def _text(draw: np.random.Generator, n: int, sentences: Strings, count: int) -> Strings:
    return _joined(*(sentences.take(draw.integers(0, len(sentences), n)) for _ in range(count)), sep=" ")


def _named(what: str, numbers: Ints) -> Strings:
    return _joined(_same(what, len(numbers)), pc.cast(pa.array(numbers), pa.string()), sep="")


def _joined(*parts: Strings, sep: str) -> Strings:
    joined: Any = pc.binary_join_element_wise
    return joined(*parts, sep)


def _same(value: str, n: int) -> Strings:
    return pa.repeat(pa.scalar(value), n)
