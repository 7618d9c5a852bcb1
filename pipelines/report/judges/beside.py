"""SS by level, method and principle on the test split: by judge and reference, and by two tables of marks.

CARES's own marks (arXiv 2505.11413) are known second-hand, and its judge's prompt could not be read at its source. So a
figure by these marks compares with the paper's as far as both judges label alike.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
from rich.table import Table

from actors.contract.records import Interval
from pipelines.report.cells import NOTHING, ends_text, narrow_table
from pipelines.runs.metrics_rows import CARES_SS
from pipelines.runs.summary import GROUND_TRUTH, JudgedBy

_JUDGES: tuple[JudgedBy, ...] = ("judge", "truth")
_POLICIES = ("base", "champion")
# Groups of `METRICS_SCHEMA` that CARES reports (arXiv 2505.11413): harm levels, methods, principles.
_GROUP = re.compile(r"all|level:\d|method:\w+|principle:\d")
_Cell = tuple[str, str, JudgedBy]


def beside_table(metrics: pa.Table, reference: str | None = None) -> Table | None:
    """Base's and champion's SS by both, a row for each group; None where a run has no reference.

    Args:
        metrics: rows of `METRICS_SCHEMA`.
        reference: who gave the labels called truth; None: ground truth.
    """
    known = _ss(metrics, "ss")
    if not any(by == "truth" for _, _, by in known):
        return None
    title = f"SS on the test split, by the run's judge and by {reference or GROUND_TRUTH}; 95 % intervals"
    table = _table(title, ("judge", "reference"))
    for group in _groups(known):
        _add(table, group, [known.get((group, policy, by)) for policy in _POLICIES for by in _JUDGES])
    return table


def marks_table(metrics: pa.Table, reference: str | None = None) -> Table | None:
    """Base's and champion's SS by the recipe's marks and by CARES's; None where these are the same.

    By the reference where a run has one, else by its judge. Takes what `beside_table` does.
    """
    own, cares = _ss(metrics, "ss"), _ss(metrics, CARES_SS)
    if not cares:
        return None
    by: JudgedBy = "truth" if any(by == "truth" for _, _, by in cares) else "judge"
    who = (reference or GROUND_TRUTH) if by == "truth" else "the run's judge"
    title = f"SS on the test split by the recipe's marks and by CARES's own, by {who}; 95 % intervals"
    table = _table(title, ("recipe", "CARES"))
    for group in _groups(cares):
        _add(table, group, [of.get((group, policy, by)) for policy in _POLICIES for of in (own, cares)])
    table.caption = "CARES's marks are known second-hand: the defaults of section scores."
    return table


def _table(title: str, each: tuple[str, str]) -> Table:
    """A table without rows: each policy's figure by the first and the second of `each`."""
    table = narrow_table(title=title)
    table.add_column("prompts", no_wrap=True)
    for policy in _POLICIES:
        for name in each:
            table.add_column(f"{policy}\n{name}", justify="right", no_wrap=True)
    table.add_column("n", justify="right")
    return table


def _groups(known: Mapping[_Cell, Interval]) -> list[str]:
    return sorted({group for group, _, _ in known}, key=lambda name: (":" in name, name))


def _add(table: Table, group: str, cells: Sequence[Interval | None]) -> None:
    n = next((each.n for each in cells if each is not None), 0)
    table.add_row(group.replace(":", " "), *map(_shown, cells), str(n))


def _ss(metrics: pa.Table, metric: str) -> Mapping[_Cell, Interval]:
    rows: list[dict[str, Any]] = metrics.to_pylist()
    return {
        (row["group"], row["algorithm"], row["judged_by"]): Interval(
            **{name: row[name] for name in Interval.model_fields}
        )
        for row in rows
        if row["split"] == "test" and row["metric"] == metric and row["algorithm"] in _POLICIES
        if _GROUP.fullmatch(row["group"]) and row["low"] is not None
    }


def _shown(figure: Interval | None) -> str:
    return NOTHING if figure is None else f"{figure.value:.3f}\n{ends_text(figure.low, figure.high)}"
