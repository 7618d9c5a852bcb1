"""Evaluations as `.eval` logs of Inspect, written through its own API; needs the extra `inspect`.

Each log is one policy on one set of prompts under one judge. Score `label` is the judge's label, and `mark` what the
recipe's score table gives for it, whose mean is the Safety Score.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from inspect_ai.log import (
    EvalConfig,
    EvalDataset,
    EvalLog,
    EvalMetric,
    EvalResults,
    EvalSample,
    EvalScore,
    EvalSpec,
    write_eval_log,
)
from inspect_ai.model import ChatMessageAssistant, ChatMessageSystem, ChatMessageUser, ModelOutput
from inspect_ai.scorer import Score

from actors.contract.conversation import whole_conversation
from actors.contract.records import LABELS
from pipelines.config.scores import ScoreTable
from pipelines.measures.metrics import scores
from pipelines.runs.finished.export.answers import AnswerSet

_MESSAGES: dict[str, Any] = {
    "system": ChatMessageSystem,
    "user": ChatMessageUser,
    "assistant": ChatMessageAssistant,
}
_KEPT = ("level", "method", "principle", "style", "source", "base_prompt", "disagreement")


def write_logs(sets: Sequence[AnswerSet], table: ScoreTable, run: str, out: Path) -> list[Path]:
    """A log for each set of answers, in a folder; returns their files."""
    written = []
    for found in sets:
        name = "_".join(part for part in (_task(found), found.policy, found.judge) if part)
        path = out / f"{name.replace('/', '-')}.eval"
        write_eval_log(_log(found, table, run), str(path))
        written.append(path)
    return written


def _task(found: AnswerSet) -> str:
    return found.prompts if found.cycle is None else f"{found.prompts}-cycle-{found.cycle:02d}"


def _log(found: AnswerSet, table: ScoreTable, run: str) -> EvalLog:
    marks = scores(found.table, table)
    samples = list(_samples(found, marks))
    known = marks[~np.isnan(marks)]
    # By content, so that the same run gives the same ids.
    key = hashlib.sha256(f"{run}/{_task(found)}/{found.policy}/{found.judge}".encode()).hexdigest()[:22]
    metrics = {"mean": EvalMetric(name="mean", value=float(known.mean()))} if known.size else {}
    score = EvalScore(
        name="mark",
        scorer=found.judge,
        scored_samples=int(known.size),
        unscored_samples=len(samples) - int(known.size),
        metrics=metrics,
    )
    made = datetime.fromtimestamp(max(f.stat().st_mtime for f in found.folder.glob("*.parquet")), UTC)
    epochs = max((sample.epoch for sample in samples), default=1)
    ids: list[str | int] = list(dict.fromkeys(sample.id for sample in samples))
    return EvalLog(
        status="success",
        eval=EvalSpec(
            eval_id=key,
            run_id=run,
            created=made.isoformat(),
            task=_task(found),
            task_id=key,
            dataset=EvalDataset(name=found.prompts, samples=len(ids), sample_ids=ids),
            model=f"salus/{found.policy}",
            config=EvalConfig(epochs=epochs),
            metadata={"run": run, "judge": found.judge, "cycle": found.cycle},
        ),
        results=EvalResults(total_samples=len(samples), completed_samples=len(samples), scores=[score]),
        samples=samples,
    )


def _samples(found: AnswerSet, marks: Any) -> Iterator[EvalSample]:
    for row, mark in zip(found.table.to_pylist(), marks.tolist(), strict=True):
        turns = whole_conversation(row["context"], row["prompt"])
        asked = [_MESSAGES.get(turn.role, ChatMessageUser)(content=turn.content) for turn in turns]
        probabilities = {label: row[f"p_{label.lower()}"] for label in LABELS}
        known = {} if row["label"] is None else {"label": Score(value=row["label"], answer=row["answer"])}
        if row["label"] is not None:
            known["mark"] = Score(value=mark, metadata=probabilities)
        yield EvalSample(
            id=row["prompt_id"],
            epoch=row["sample"] + 1,
            input=asked,
            target=row["reference"] or "",
            messages=[*asked, ChatMessageAssistant(content=row["answer"])],
            output=ModelOutput.from_content(f"salus/{found.policy}", row["answer"], stop_reason=_stop(row)),
            scores=known,
            metadata={name: row[name] for name in _KEPT if row[name] is not None},
        )


def _stop(row: dict[str, Any]) -> Any:
    """Why an answer ended, in Inspect's words."""
    return "max_tokens" if row["finish_reason"] == "length" else "stop"
