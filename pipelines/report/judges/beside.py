"""The run's judge and its reference side by side on the test split: SS by level, method and principle."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
from rich.table import Table

from actors.contract.records import Interval
from pipelines.report.cells import NOTHING, ends_text, narrow_table
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
    known = _ss(metrics)
    if not any(by == "truth" for _, _, by in known):
        return None
    table = narrow_table(
        title=f"SS on the test split, by the run's judge and by {reference or GROUND_TRUTH}; 95 % intervals"
    )
    table.add_column("prompts", no_wrap=True)
    for policy in _POLICIES:
        for by in ("judge", "reference"):
            table.add_column(f"{policy}\n{by}", justify="right", no_wrap=True)
    table.add_column("n", justify="right")
    for group in sorted({group for group, _, _ in known}, key=lambda name: (":" in name, name)):
        cells = [known.get((group, policy, by)) for policy in _POLICIES for by in _JUDGES]
        n = next((each.n for each in cells if each is not None), 0)
        table.add_row(group.replace(":", " "), *map(_shown, cells), str(n))
    return table


def _ss(metrics: pa.Table) -> Mapping[_Cell, Interval]:
    rows: list[dict[str, Any]] = metrics.to_pylist()
    return {
        (row["group"], row["algorithm"], row["judged_by"]): Interval(
            **{name: row[name] for name in Interval.model_fields}
        )
        for row in rows
        if row["split"] == "test" and row["metric"] == "ss" and row["algorithm"] in _POLICIES
        if _GROUP.fullmatch(row["group"]) and row["low"] is not None
    }


def _shown(figure: Interval | None) -> str:
    return NOTHING if figure is None else f"{figure.value:.3f}\n{ends_text(figure.low, figure.high)}"
