"""Inference schemes as pure functions: prompts as a scheme asks them, one answer out of several, and what it cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from actors.contract.conversation import context_of, whole_conversation
from actors.contract.records import LABELS, PROMPT_SCHEMA, Interval, Label, Record
from actors.files.shards import strings
from actors.serve.replica.scheme.asked import Example, as_scheme_asks
from actors.serve.replica.scheme.nearest import nearest_places
from pipelines.config.model import SchemeConfig
from pipelines.measures.metrics import Metrics


class SchemeFigures(Record):
    """One policy under one scheme on the test split; `scheme` None: asked as it is deployed."""

    scheme: str | None
    policy: str
    ss: Interval | None
    err_strict: Interval | None
    asr: Interval | None
    answered: Interval | None
    n: int
    # Mean tokens of a prompt, as the policy reads it, and of all its sampled answers together.
    read_tokens: float
    written_tokens: float

    @classmethod
    def of(cls, scheme: str | None, policy: str, metrics: Metrics, read: float, written: float) -> SchemeFigures:
        figures: dict[str, Any] = {name: getattr(metrics, name) for name in ("ss", "err_strict", "asr", "answered")}
        return cls(scheme=scheme, policy=policy, n=metrics.n, read_tokens=read, written_tokens=written, **figures)


def as_asked(
    prompts: pa.Table, scheme: SchemeConfig, examples: Sequence[Example] = (), near: NDArray[np.float64] | None = None
) -> pa.Table:
    """The same rows (`PROMPT_SCHEMA`) as a scheme asks them.

    Args:
        prompts: the rows.
        scheme: how they are asked.
        examples: what few-shot examples are taken from.
        near: how near each prompt is to each example, shape (prompts, examples); None where none are asked for.
    """
    rows = []
    for number, row in enumerate(prompts.to_pylist()):
        places = nearest_places(near[number], scheme.few_shot) if near is not None else []
        shown = [examples[place] for place in reversed(places)]
        turns = whole_conversation(row["context"], row["prompt"])
        asked = as_scheme_asks(turns, scheme.system_prompt, scheme.suffix, shown)
        rows.append(row | {"prompt": asked[-1].content, "context": context_of(asked)})
    return pa.Table.from_pylist(rows, schema=PROMPT_SCHEMA)


def as_they_were(answers: pa.Table, prompts: pa.Table) -> pa.Table:
    """Answers (`ROLLOUT_SCHEMA`) beside the requests themselves: a judge is to see nothing of the scheme."""
    of = {row["prompt_id"]: row for row in prompts.to_pylist()}
    rows = [of[name] for name in answers["prompt_id"].to_pylist()]
    for column in ("prompt", "context"):
        field = answers.schema.field(column)
        place = answers.column_names.index(column)
        answers = answers.set_column(place, field, pa.array([row[column] for row in rows], field.type))
    return answers


def voted(judgments: pa.Table) -> pa.Table:
    """One answer of each prompt: the first whose label most of its answers have; of equals the stricter label's.

    Self-consistency (arXiv 2203.11171) votes on final answers. Labels are what free texts can be compared by.
    """
    names = strings(judgments, "prompt_id")
    labels: list[Label | None] = judgments["label"].to_pylist()
    votes: dict[str, Counter[Label]] = {}
    for name, label in zip(names, labels, strict=True):
        votes.setdefault(name, Counter()).update([label] if label is not None else [])
    chosen = {name: _most(of) for name, of in votes.items()}
    first: dict[str, int] = {}
    for place, (name, label) in enumerate(zip(names, labels, strict=True)):
        if label == chosen[name]:
            first.setdefault(name, place)
    return judgments.take(pa.array(first.values(), pa.int64()))


def _most(votes: Counter[Label]) -> Label | None:
    ranked = sorted(votes, key=lambda label: (votes[label], LABELS.index(label)))
    return ranked[-1] if ranked else None


def written_tokens(answers: pa.Table) -> float:
    """Mean tokens of all answers of a prompt together."""
    prompts = len(set(answers["prompt_id"].to_pylist()))
    return float(answers["tokens"].to_numpy().sum()) / prompts if prompts else 0.0


def good_examples(judgments: pa.Table, best: Mapping[int, Sequence[str]]) -> list[Example]:
    """A good answer of each train prompt: the policy's first with a best label of its level, else the safe reference.

    Args:
        judgments: judged answers to train prompts.
        best: the labels that earn a level's best mark.
    """
    found: dict[str, Example] = {}
    references: dict[str, Example] = {}
    for row in judgments.to_pylist():
        name, whole = row["prompt_id"], row["finish_reason"] == "stop" and row["context"] is None
        if whole and row["label"] in best[row["level"]] and row["answer"].strip():
            found.setdefault(name, (row["prompt"], row["answer"]))
        if row["reference"] and row["context"] is None:
            references.setdefault(name, (row["prompt"], row["reference"]))
    return [*found.values(), *(example for name, example in references.items() if name not in found)]
