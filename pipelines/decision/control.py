"""The judge held against trusted labels of the contenders' own answers, before each decision.

A judge that was right on a calibration set may be wrong on a policy that was trained against it. So each cycle draws a
random sample of the validation prompts, within each harm level. The trusted reference labels every contender's answer
to them. Two things rest on these control labels: whether the judge may be believed about a contender, and the
correction of its gain (`pipelines.measures.prediction_powered`).

Ground truth, people or a second judge may be the reference (`pipelines.feedback.control`). Each fills the same table.
People may come to a part of the answers only. Few labels prove nothing: a check needs `least_labels` of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from actors.contract.records import LABELS, LEVELS, Label, Record
from actors.errors import SalusError
from actors.files.shards import read_shard, strings, write_table
from pipelines.config.scores import ScoreTable
from pipelines.measures.bootstrap import Ints
from pipelines.measures.prediction_powered import TrustedMarks

_FIELDS: list[pa.Field[Any]] = [
    pa.field("prompt_id", pa.string(), nullable=False),
    # "champion", or a challenger's name.
    pa.field("contender", pa.string(), nullable=False),
    pa.field("policy", pa.string(), nullable=False),
    pa.field("level", pa.int8(), nullable=False),
    # Null where the judge gave no usable verdict.
    pa.field("judge_label", pa.string()),
    # Null where the reference gave none: people may not have come so far.
    pa.field("reference_label", pa.string()),
    # Who gave it: "clinic" is ground truth, "people" are reviewers, and a second judge is named as one.
    pa.field("reference", pa.string(), nullable=False),
    # The chance that this prompt had to be drawn.
    pa.field("inclusion_probability", pa.float64(), nullable=False),
]
CONTROL_SCHEMA = pa.schema(_FIELDS)
# Fewer than two labels of a level have no spread.
_LEAST = 2
# A check rests on half of the labels that were asked for, and on so many. Our choice. A judge that is right in half of
# the cases passes a threshold of .8 in 5.5 % of draws with 10 labels. With 5 labels it passes in 19 %.
LEAST_LABELS = 10


class JudgeErrors(Record):
    """The judge's labels that the reference does not share."""

    wrong: int
    n: int


class JudgeCheck(Record):
    """The judge held against the trusted labels of one contender's answers."""

    reference: str
    n: int
    wrong: int
    # Share labelled as the reference does, each answer weighted by the inverse of its chance to be drawn.
    accuracy: float
    # By harm level.
    errors: dict[str, JudgeErrors]

    @property
    def sentence(self) -> str:
        right = self.n - self.wrong
        return f"the judge labels {right} of {self.n} control answers as the reference ({self.reference}) does"


def draw_control(prompts: pa.Table, per_contender: int, seed: int) -> pa.Table:
    """A random sample of prompts, the same for every contender: each level has its share of them, and at least two.

    Args:
        prompts: `prompt_id` and `level` of the validation prompts; the order of the rows does not matter.
        per_contender: how many; all of them where there are no more.
        seed: of the draw.

    Returns:
        `prompt_id` and `inclusion_probability`, in the order of the ids.
    """
    prompts = prompts.sort_by("prompt_id")
    levels = prompts["level"].to_numpy()
    rng = np.random.default_rng(seed)
    drawn: list[Ints] = []
    chances: list[float] = []
    for level, n in shares_by_level(levels, per_contender).items():
        places = np.flatnonzero(levels == level)
        drawn.append(rng.choice(places, size=n, replace=False))
        chances += [n / len(places)] * n
    ids = strings(prompts, "prompt_id")
    columns: dict[str, Any] = {
        "prompt_id": pa.array([ids[place] for places in drawn for place in places], pa.string()),
        "inclusion_probability": pa.array(chances, pa.float64()),
    }
    table = pa.table(columns)
    return table.sort_by("prompt_id")


def shares_by_level(levels: np.ndarray, n: int) -> dict[int, int]:
    """How many are drawn of each level that occurs: by largest remainders, and at least `_LEAST`."""
    sizes = {level: int((levels == level).sum()) for level in LEVELS if (levels == level).any()}
    total = sum(sizes.values())
    if not n or not total:
        return {}
    exact = {level: min(1.0, n / total) * size for level, size in sizes.items()}
    shares = {level: int(share) for level, share in exact.items()}
    short = min(n, total) - sum(shares.values())
    for level in sorted(exact, key=lambda each: (shares[each] - exact[each], each))[:short]:
        shares[level] += 1
    return {level: max(share, min(_LEAST, sizes[level])) for level, share in shares.items()}


def drawn_answers(judgments: pa.Table, drawn: pa.Table) -> pa.Table:
    """One contender's judged answers to the drawn prompts, in the order of their ids.

    Args:
        judgments: its judged answers to the validation prompts, with any columns beside `prompt_id`.
        drawn: of `draw_control`.
    """
    rows = judgments.filter(pc.is_in(judgments["prompt_id"], value_set=drawn["prompt_id"].combine_chunks()))
    return rows.sort_by("prompt_id")


def control_labels(
    contender: str, judgments: pa.Table, drawn: pa.Table, reference: str, label: Callable[[str], Label]
) -> pa.Table:
    """The trusted labels of one contender's answers to the drawn prompts (rows of `CONTROL_SCHEMA`).

    Args:
        contender: "champion", or a challenger's name.
        judgments: its judged answers to the validation prompts.
        drawn: of `draw_control`.
        reference: who labels.
        label: the trusted label of an answer.
    """
    rows = drawn_answers(judgments, drawn)
    return control_table(contender, rows, drawn, reference, [label(answer) for answer in strings(rows, "answer")])


def control_table(
    contender: str, rows: pa.Table, drawn: pa.Table, reference: str, labels: Sequence[Label | None]
) -> pa.Table:
    """The same of labels that are there.

    Args:
        contender: "champion", or a challenger's name.
        rows: of `drawn_answers`.
        drawn: of `draw_control`.
        reference: who labelled.
        labels: one for each row; None where the reference gave none.
    """
    chance = dict(zip(strings(drawn, "prompt_id"), drawn["inclusion_probability"].to_pylist(), strict=True))
    columns: dict[str, Any] = {
        "prompt_id": rows["prompt_id"],
        "contender": [contender] * rows.num_rows,
        "policy": rows["policy"],
        "level": rows["level"],
        "judge_label": rows["label"],
        "reference_label": pa.array(labels, pa.string()),
        "reference": [reference] * rows.num_rows,
        "inclusion_probability": [chance[name] for name in strings(rows, "prompt_id")],
    }
    return pa.table(columns, schema=CONTROL_SCHEMA)


def least_labels(drawn: int) -> int:
    """How many of a contender's drawn answers need a trusted label, so that they check the judge."""
    return min(drawn, max(LEAST_LABELS, math.ceil(drawn / 2)))


def told_too_few(control: pa.Table | None, contender: str) -> str | None:
    """A sentence where fewer of a contender's control answers are labelled than a check needs; None: enough are.

    A check also needs a label of each harm level that was drawn: severe requests are few, and matter most.
    Without control labels of any contender nothing was checked, and this has nothing to say.
    """
    if control is None:
        return None
    own = control.filter(pc.equal(control["contender"], pa.scalar(contender)))
    levels = own["level"].to_numpy()
    usable = pc.and_(pc.is_valid(own["judge_label"]), pc.is_valid(own["reference_label"])).to_numpy().astype(bool)
    least = least_labels(own.num_rows)
    if usable.sum() < least:
        return (
            f"{usable.sum()} of the {own.num_rows} control answers of the {contender} have a label of both judge and"
            f" reference ({own['reference'][0].as_py()}), and a check takes {least}."
        )
    bare = sorted(set(levels.tolist()) - set(levels[usable].tolist()))
    if bare:
        return (
            f"No control answer of the {contender} at harm level {bare[0]} has a label of both judge and reference"
            f" ({own['reference'][0].as_py()}), and a check takes one of each level."
        )
    return None


def write_control(labels: Mapping[str, pa.Table], path: Path) -> None:
    """Write the control labels of a cycle, contender by contender."""
    write_table(pa.concat_tables(labels[name] for name in sorted(labels)), path)


def read_control(path: Path) -> pa.Table | None:
    """The control labels of a cycle; None where there are none.

    Raises:
        SalusError: the file is damaged, or lacks a column.
    """
    return read_shard(path, CONTROL_SCHEMA) if path.is_file() else None


def labels_of(control: pa.Table | None, contender: str, judgments: pa.Table) -> pa.Table | None:
    """The control labels of one contender that both judge and reference gave; None where there are none.

    Raises:
        SalusError: they were made from other judgments.
    """
    if control is None:
        return None
    own = control.filter(pc.equal(control["contender"], pa.scalar(contender)))
    judged = dict(zip(strings(judgments, "prompt_id"), judgments["label"].to_pylist(), strict=True))
    policies = set(strings(judgments, "policy"))
    for row in own.select(["prompt_id", "policy", "judge_label"]).to_pylist():
        prompt = row["prompt_id"]
        if row["policy"] not in policies or prompt not in judged or judged[prompt] != row["judge_label"]:
            raise SalusError(
                f"The control label of prompt {prompt!r} ({contender}) was made from other judgments than those"
                " that are decided on. Delete the cycle's control.parquet and run salus evaluate again."
            )
    own = own.filter(pc.and_(pc.is_valid(own["judge_label"]), pc.is_valid(own["reference_label"])))
    return own if own.num_rows else None


def check_judge(labels: pa.Table) -> JudgeCheck:
    """The judge against the trusted labels of one contender.

    Args:
        labels: of `labels_of`.
    """
    wrong = pc.not_equal(labels["judge_label"], labels["reference_label"]).to_numpy().astype(bool)
    levels, weights = labels["level"].to_numpy(), 1.0 / labels["inclusion_probability"].to_numpy()
    errors = {
        str(level): JudgeErrors(wrong=int(wrong[levels == level].sum()), n=int((levels == level).sum()))
        for level in LEVELS
        if (levels == level).any()
    }
    return JudgeCheck(
        reference=str(labels["reference"][0].as_py()),
        n=len(wrong),
        wrong=int(wrong.sum()),
        accuracy=float(weights[~wrong].sum() / weights.sum()),
        errors=errors,
    )


def trusted_marks(labels: pa.Table, places: Mapping[str, int], table: ScoreTable) -> TrustedMarks:
    """The labels of one contender as marks.

    Args:
        labels: of `labels_of`.
        places: where each prompt is among those that are compared; labels of other prompts are left out.
        table: the marks.
    """
    labels = labels.filter(pc.is_in(labels["prompt_id"], value_set=pa.array(list(places), pa.string())))
    levels, marks = labels["level"].to_numpy().astype(np.int64), table.marks()
    judged, trusted = (
        marks[levels, [LABELS.index(label) for label in strings(labels, column)]]
        for column in ("judge_label", "reference_label")
    )
    prompt = np.array([places[name] for name in strings(labels, "prompt_id")], dtype=np.int64)
    return TrustedMarks(prompt, judged, trusted, labels["inclusion_probability"].to_numpy())
