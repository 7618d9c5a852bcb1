"""Safety metrics by the style or the topic of a request, those that are held out from training apart.

What a policy learnt on the styles (as `aave`, `misspelt`) and topics of its training prompts should also hold for those
that it never met. A request has one style at most, and may have several topics.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from actors.contract.records import TOPIC_MARK, Interval, Record
from actors.contract.seeds import derive_seed
from actors.errors import SalusError
from pipelines.config.recipe import Recipe
from pipelines.config.scores import ScoreTable
from pipelines.measures.bootstrap import RESAMPLES
from pipelines.measures.metrics import MAIN_FIGURES, Metrics, measure

# How requests are grouped, and the column that says it.
Grouping = Literal["style", "topic"]
COLUMNS: dict[Grouping, str] = {"style": "style", "topic": "topics"}


class GroupFigures(Record):
    """One policy's main figures on the requests of one group, or of several together."""

    ss: Interval | None
    ss_macro: Interval | None
    err_strict: Interval | None
    err_broad: Interval | None
    asr: Interval | None
    answered: Interval | None = None
    # By a guard (`pipelines.measures.attack_success`); None where none judged.
    attack_success: Interval | None = None
    # Rows with a label.
    n: int

    @classmethod
    def of(cls, metrics: Metrics) -> GroupFigures:
        figures = {name: getattr(metrics, name) for name in (*MAIN_FIGURES, "attack_success")}
        return cls(**figures, n=metrics.n)


class GroupMetrics(Record):
    """The figures of each style (or topic), of those that training has seen, and of the held-out ones."""

    grouping: Grouping
    by_name: dict[str, GroupFigures]
    # All rows of a group that is in none held out; None where there are none.
    seen: GroupFigures | None
    # All rows of the held-out ones; None where there are none.
    held_out: GroupFigures | None
    held_out_names: tuple[str, ...]
    # Rows that name none: in none of the figures above.
    unnamed: int


def measure_groups(
    judgments: pa.Table,
    grouping: Grouping,
    table: ScoreTable,
    seed: int,
    held_out: Collection[str] = (),
    resamples: int = RESAMPLES,
) -> GroupMetrics | None:
    """SS, ERR and ASR by style or topic; None where the judgments have no such column, or name none in it.

    Args:
        judgments: rows of `JUDGMENT_SCHEMA`, one an answer, with or without the column.
        grouping: which column.
        table: the marks.
        seed: of the bootstrap; each group draws for itself.
        held_out: names that no training prompt had.
        resamples: bootstrap samples.

    Raises:
        SalusError: a held-out name that no row has, or as `measure` does.
    """
    of_rows = names_of(judgments, grouping)
    known = sorted(set().union(*of_rows))
    if not known:
        return None
    unknown = sorted(set(held_out) - set(known))
    if unknown:
        raise SalusError(f"No request has the held-out {grouping} {unknown[0]!r}; there are {', '.join(known)}.")
    apart = set(held_out)

    def figures(where: NDArray[np.bool_], draw: str) -> GroupFigures | None:
        if not where.any():
            return None
        rows = judgments.filter(pa.array(where))
        return GroupFigures.of(measure(rows, table, derive_seed(seed, grouping, draw), resamples))

    each = {name: figures(_rows(of_rows, {name}), f"one {name}") for name in known}
    named, unseen = np.array([bool(names) for names in of_rows]), _rows(of_rows, apart)
    return GroupMetrics(
        grouping=grouping,
        by_name={name: found for name, found in each.items() if found is not None},
        seen=figures(named & ~unseen, "seen"),
        held_out=figures(unseen, "held out"),
        held_out_names=tuple(sorted(apart)),
        unnamed=int((~named).sum()),
    )


def groups_of(table: pa.Table, recipe: Recipe, seed: int) -> dict[Grouping, GroupMetrics]:
    """Figures by style and by topic; what the recipe holds out is apart as far as these prompts have it."""
    data = recipe.data
    wrapped = data.styles.held_out if data.styles is not None else ()
    apart: dict[Grouping, set[str]] = {
        "style": {*wrapped, *data.held_out.styles},
        "topic": set(data.held_out.topics),
    }
    found = {}
    for grouping, names in apart.items():
        # Only test prompts have them, and a limit on those (data.test) may leave one out.
        there = frozenset[str]().union(*names_of(table, grouping))
        if (measured := measure_groups(table, grouping, recipe.scores, seed, names & there)) is not None:
            found[grouping] = measured
    return found


def names_of(rows: pa.Table, grouping: Grouping) -> list[frozenset[str]]:
    """The styles or topics of each row; of files that lack the column, none."""
    if COLUMNS[grouping] not in rows.column_names:
        return [frozenset()] * rows.num_rows
    found = rows[COLUMNS[grouping]].to_pylist()
    if grouping == "style":
        return [frozenset((name,)) if name else frozenset() for name in found]
    return [frozenset(names.split(TOPIC_MARK)) if names else frozenset() for names in found]


def _rows(of_rows: list[frozenset[str]], names: set[str]) -> NDArray[np.bool_]:
    """Which rows have one of these names."""
    return np.array([bool(each & names) for each in of_rows], dtype=bool)
