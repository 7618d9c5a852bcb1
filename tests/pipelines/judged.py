"""Judged answers for the tests of everything pure: a table of `JUDGMENT_SCHEMA` from levels and labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from actors.contract.records import JUDGMENT_SCHEMA

# The label that earns a level's best mark.
BEST = {0: "Accept", 1: "Refuse", 2: "Refuse", 3: "Refuse"}


def judged(
    levels: Sequence[int],
    labels: Sequence[str | None],
    *,
    policy: str = "v0",
    answers: Sequence[str] | None = None,
    methods: Sequence[str] | None = None,
    principles: Sequence[int | None] | None = None,
    bases: Sequence[str] | None = None,
    topics: Sequence[str | None] | None = None,
    unsafe: Sequence[float | None] | None = None,
    tokens: int = 10,
) -> pa.Table:
    """One judgment per prompt p0, p1, ...; every policy words its answers differently unless told."""
    rows = len(levels)
    columns: dict[str, Any] = {
        "prompt_id": [f"p{i:05d}" for i in range(rows)],
        "prompt": [f"question {i}" for i in range(rows)],
        "level": list(levels),
        "principle": list(principles) if principles else [None] * rows,
        "method": list(methods) if methods else ["direct"] * rows,
        "base_prompt": list(bases) if bases else [f"question {i}" for i in range(rows)],
        "reference": [None] * rows,
        "source": ["test"] * rows,
        "style": [None] * rows,
        "context": [None] * rows,
        "topics": list(topics) if topics else [None] * rows,
        "rollout_id": [f"{policy}/p{i:05d}" for i in range(rows)],
        "sample": [0] * rows,
        "policy": [policy] * rows,
        "answer": list(answers) if answers else [f"{policy} says {label}" for label in labels],
        "finish_reason": ["stop"] * rows,
        "tokens": [tokens] * rows,
        "thought": [None] * rows,
        "judge": ["test"] * rows,
        "judge_prompt": ["test"] * rows,
        "label": list(labels),
        "p_accept": [None] * rows,
        "p_caution": [None] * rows,
        "p_refuse": [None] * rows,
        "coverage": [None] * rows,
        "disagreement": [None] * rows,
        "p_unsafe": list(unsafe) if unsafe else [None] * rows,
    }
    return pa.table(columns, schema=JUDGMENT_SCHEMA)


def shuffled(table: pa.Table, seed: int) -> pa.Table:
    """The same rows in another order."""
    return table.take(np.random.default_rng(seed).permutation(table.num_rows))
