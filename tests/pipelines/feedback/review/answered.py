"""Judged answers for the tests of the review, and a run folder that holds them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from actors.contract.records import JUDGMENT_SCHEMA, LABELS, Label
from actors.contract.run_folder import RunFolder
from actors.files.shards import write_table
from pipelines.feedback.review.queue import JudgedAnswer, Probabilities

SURE: Probabilities = (0.98, 0.01, 0.01)
TORN: Probabilities = (0.34, 0.33, 0.33)


def answered(
    number: int,
    p: Probabilities | None = SURE,
    level: int = 0,
    method: str = "direct",
    disagreement: float | None = None,
    draw: float = 0.5,
    answer: str | None = None,
) -> JudgedAnswer:
    return JudgedAnswer(
        prompt=f"request {number}",
        answer=answer if answer is not None else f"answer {number}",
        level=level,
        method=method,
        policy="c0-base",
        judge="judge",
        label=LABELS[p.index(max(p))] if p is not None else None,
        p=p,
        disagreement=disagreement,
        draw=draw,
    )


def judgment_table(rows: Sequence[JudgedAnswer]) -> pa.Table:
    """The answers as a judge would write them."""
    made = []
    for i, row in enumerate(rows):
        p = row.p or (None, None, None)
        made.append(
            {
                "prompt_id": row.prompt,
                "prompt": row.prompt,
                "level": row.level,
                "method": row.method,
                "base_prompt": row.prompt,
                "source": "test",
                "rollout_id": str(i),
                "sample": 0,
                "policy": row.policy,
                "answer": row.answer,
                "finish_reason": "stop",
                "tokens": 3,
                "judge": row.judge,
                "judge_prompt": "none",
                "label": row.label,
                **dict(zip(("p_accept", "p_caution", "p_refuse"), p, strict=True)),
                "coverage": 1.0,
                "disagreement": row.disagreement,
            }
        )
    return pa.Table.from_pylist(made, schema=JUDGMENT_SCHEMA)


def write_judgments(root: Path, cycle: int, rows: Sequence[JudgedAnswer], shard: int = 0) -> RunFolder:
    """One shard of a cycle's judgments in a run folder."""
    folder = RunFolder(root)
    write_table(judgment_table(rows), folder.judgments(cycle) / f"part-{shard:05d}.parquet")
    return folder


def labels_of(table: pa.Table) -> list[Label | None]:
    labels: list[Label | None] = table["label"].to_pylist()
    return labels
