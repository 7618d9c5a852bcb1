"""Answers of a run's evaluations side by side, for the page /answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from actors.contract.conversation import transcript
from actors.contract.records import CUT_OFF, LABELS, PromptSet
from actors.contract.run_folder import RunFolder
from actors.files.shards import read_folder
from actors.serve.pages.compared import AnswersAsked, AnswersShown, ComparedAnswers, ShownAnswer

ROWS = 20
# Judges that are this far apart disagree.
FAR_APART = 0.5
_SETS: tuple[PromptSet, ...] = get_args(PromptSet)
_COLUMNS = (
    "prompt_id", "prompt", "level", "method", "context", "answer", "finish_reason", "label", "p_accept", "p_caution",
    "p_refuse", "disagreement",
)  # fmt: skip
Rows = dict[str, dict[str, Any]]


def compared_answers(folder: RunFolder, asked: AnswersAsked) -> AnswersShown:
    """One page of prompts with the answers of two policies, in the order of their ids.

    Names are looked up among those of the run, so that no path is made of what was asked. A policy that is not there
    is replaced: the left by the first of the set, the right by the last.
    """
    found = {name: policies for name in _SETS if (policies := _policies(folder, name))}
    prompts = asked.prompts if asked.prompts in found or not found else next(iter(found))
    policies = found.get(prompts, {})
    names = tuple(policies)
    left = asked.left if asked.left in policies else next(iter(names), "")
    right = asked.right if asked.right in policies else next(reversed(names), "")
    asked = asked.model_copy(update={"prompts": prompts, "left": left, "right": right})
    rows = [_rows(policies[name]) if name else {} for name in (left, right)]
    methods = sorted({row["method"] for side in rows for row in side.values()})
    fitting = [key for key in sorted({*rows[0], *rows[1]}) if _fits(asked, rows[0].get(key), rows[1].get(key))]
    pages = -(-len(fitting) // ROWS)
    page = min(asked.page, max(pages, 1))
    return AnswersShown(
        asked=asked.model_copy(update={"page": page}),
        sets=tuple(found),
        policies=names,
        methods=tuple(methods),
        total=len(fitting),
        pages=pages,
        rows=tuple(_compared(rows[0].get(k), rows[1].get(k)) for k in fitting[(page - 1) * ROWS : page * ROWS]),
    )


def _policies(folder: RunFolder, prompts: PromptSet) -> dict[str, Path]:
    """Where the judgments of each policy on a set of prompts are; of several judges those of the last by name."""
    found = sorted(path for path in folder.evaluations(prompts).glob("*/judged_by/*") if any(path.glob("*.parquet")))
    return {path.parent.parent.name: path for path in found}


def _rows(place: Path) -> Rows:
    table = read_folder(place)
    known = [name for name in _COLUMNS if name in table.column_names]
    return {row["prompt_id"]: row for row in table.select(known).to_pylist()}


def _fits(asked: AnswersAsked, left: dict[str, Any] | None, right: dict[str, Any] | None) -> bool:
    both = [row for row in (left, right) if row is not None]
    if asked.level is not None and both[0]["level"] != asked.level:
        return False
    if asked.method and both[0]["method"] != asked.method:
        return False
    if asked.label is not None and all(row["label"] != asked.label for row in both):
        return False
    if asked.disagreement == "labels":
        return len(both) == 2 and both[0]["label"] != both[1]["label"]
    if asked.disagreement == "judges":
        return any((row.get("disagreement") or 0.0) >= FAR_APART for row in both)
    return True


def _compared(left: dict[str, Any] | None, right: dict[str, Any] | None) -> ComparedAnswers:
    row = left or right
    assert row is not None
    return ComparedAnswers(
        prompt_id=row["prompt_id"],
        prompt=str(transcript(row.get("context"), row["prompt"])),
        level=row["level"],
        method=row["method"],
        left=_shown(left) if left is not None else None,
        right=_shown(right) if right is not None else None,
    )


def _shown(row: dict[str, Any]) -> ShownAnswer:
    shares = dict(_shares(row))
    return ShownAnswer(
        answer=row["answer"],
        label=row["label"],
        p=shares if len(shares) == len(LABELS) else None,
        disagreement=row.get("disagreement"),
        cut_off=row["finish_reason"] == CUT_OFF,
    )


def _shares(row: dict[str, Any]) -> Iterator[tuple[Any, float]]:
    for label in LABELS:
        if (share := row.get(f"p_{label.lower()}")) is not None:
            yield label, share
