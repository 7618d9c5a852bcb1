"""Both answers of every record, labelled by a judge pool; what is kept of that holds no text."""

from __future__ import annotations

import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from actors.contract.conversation import context_of, turns_of
from actors.contract.records import JUDGMENT_SCHEMA, LABELS, ROLLOUT_SCHEMA, PolicyRef
from actors.errors import SalusError
from actors.files.shards import read_folder, strings
from actors.serve.feedback.journal import read
from actors.serve.shadow.records import SHADOW
from pipelines.config.recipe import Recipe
from pipelines.judges.pool import JudgeShards, judgment_tasks

Side = Literal["live", "challenger"]
SIDES: tuple[Side, ...] = ("live", "challenger")
# Texts of records expire (`feedback.retention_days`); labels, which stay, must not bring them back.
_KEPT = (
    "judge",
    "judge_prompt",
    "label",
    *(f"p_{label.lower()}" for label in LABELS),
    "coverage",
    "disagreement",
    "p_unsafe",
)
SIDE_SCHEMA = pa.schema(
    [
        pa.field("answer_id", pa.string(), nullable=False),
        pa.field("side", pa.string(), nullable=False),
        pa.field("policy", pa.string(), nullable=False),
        *(JUDGMENT_SCHEMA.field(name) for name in _KEPT),
    ]
)
_WORKING = ".judging-"
# The leavings of a report that was killed; a running one writes its own all the time.
_ABANDONED_S = 86_400.0


def read_records(folder: Path) -> pa.Table:
    """All records of a shadow's folder (`SHADOW_SCHEMA`), in the order of the answers' ids.

    Raises:
        SalusError: there are none, or a file is none of them.
    """
    records = read(folder / SHADOW.name, SHADOW)
    if not records.num_rows:
        raise SalusError(f"{folder} holds no answers of a challenger; name the endpoint's shadow.folder.")
    return records.sort_by("answer_id").combine_chunks()


def judge_records(
    recipe: Recipe, records: pa.Table, out: Path, weights: PolicyRef | None, judge_shards: JudgeShards
) -> pa.Table:
    """Have both answers of every record labelled: rows of `SIDE_SCHEMA`, the live ones first, in the records' order.

    Args:
        recipe: whose judge it is.
        records: rows of `SHADOW_SCHEMA`.
        out: an existing folder that the judge pool reaches; nothing is left in it.
        weights: of the judge; None for rules.
        judge_shards: the judge pool.

    Raises:
        SalusError: the judgments are not those of the answers.
    """
    _remove_abandoned(out)
    answers = _rollouts(records)
    load = weights if recipe.judge.row.champion_judges else None
    with tempfile.TemporaryDirectory(prefix=_WORKING, dir=out) as place:
        judge_shards(judgment_tasks(recipe, answers, Path(place), load))
        judged = read_folder(Path(place) / "judgments")
    if not judged["rollout_id"].equals(answers["rollout_id"]):
        raise SalusError(f"The judgments in {out} are not those of the records; run it again.")
    columns: dict[str, Any] = {
        "answer_id": judged["prompt_id"],
        "side": pa.array([side for side in SIDES for _ in range(records.num_rows)], pa.string()),
        "policy": judged["policy"],
        **{name: judged[name] for name in _KEPT},
    }
    return pa.table(columns).cast(SIDE_SCHEMA)


def _rollouts(records: pa.Table) -> pa.Table:
    """Both answers of every record as a judge reads them, each with its whole conversation."""
    return pa.concat_tables(
        [
            _side(records, 0, "policy", "answer", "finish_reason"),
            _side(records, 1, "challenger", "challenger_answer", "challenger_finish_reason"),
        ]
    )


def _side(records: pa.Table, sample: int, policy: str, answer: str, finish_reason: str) -> pa.Table:
    def all_rows(value: Any) -> list[Any]:
        return [value] * records.num_rows

    columns: dict[str, Any] = {
        "prompt_id": records["answer_id"],
        "prompt": records["prompt"],
        # Of a live prompt it is unknown, and no judge looks at it.
        "level": all_rows(0),
        "principle": all_rows(None),
        "method": all_rows("direct"),
        "base_prompt": records["prompt"],
        "reference": all_rows(None),
        "source": all_rows("live"),
        "style": all_rows(None),
        "context": [context_of(turns_of(text)) for text in strings(records, "conversation")],
        "topics": all_rows(None),
        "rollout_id": [f"{answer_id}.{SIDES[sample]}" for answer_id in strings(records, "answer_id")],
        "sample": all_rows(sample),
        "policy": records[policy],
        # As a generator's answers are.
        "answer": [text.strip() for text in strings(records, answer)],
        "finish_reason": records[finish_reason],
        "tokens": all_rows(0),
        "thought": all_rows(None),
    }
    return pa.table(columns, schema=ROLLOUT_SCHEMA)


def _remove_abandoned(out: Path) -> None:
    for place in out.glob(f"{_WORKING}*"):
        # Another report may be done with it meanwhile.
        with suppress(FileNotFoundError):
            if time.time() - place.stat().st_mtime > _ABANDONED_S:
                shutil.rmtree(place, ignore_errors=True)
