"""SS, ERR and ASR of every policy by cycle: by the judge from the decisions, by ground truth once a run has ended.

And the training curves, also while a challenger trains.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, get_args

from actors.contract.records import Interval
from actors.contract.run_folder import RunFolder
from actors.files.shards import read_shard
from actors.serve.pages.dashboard_data import CurveLine, Metric, Point
from pipelines.config.recipe import Recipe
from pipelines.decision.record import CandidateResult, Decision
from pipelines.report.curves import run_curves
from pipelines.runs.metrics_rows import METRICS_SCHEMA

# Of a curve; a picture is not wider.
MOST_STEPS = 150
METRICS: tuple[Metric, ...] = get_args(Metric)


def judged_points(decisions: Sequence[Decision]) -> Iterator[Point]:
    """The figures each decision was made on; the first champion is at cycle 0 too."""
    if decisions:
        yield from _points(0, "base", decisions[0].champion, winner=True)
    for decision in decisions:
        for result in (decision.champion, *decision.challengers):
            yield from _points(decision.cycle, result.name, result, winner=result.name == decision.chosen)


def true_points(folder: RunFolder) -> list[Point]:
    """The same by ground truth, from the run's metrics; none before it has ended or where no truth is known.

    Raises:
        SalusError: the metrics cannot be read.
    """
    if not folder.metrics.is_file():
        return []
    rows = read_shard(folder.metrics, METRICS_SCHEMA).to_pylist()
    return [_true_point(row) for row in rows if _is_shown(row)]


def curve_lines(folder: RunFolder, recipe: Recipe | None) -> tuple[CurveLine, ...]:
    """Every figure of every challenger's training.

    Raises:
        SalusError: a curve cannot be read.
    """
    if recipe is None:
        return ()
    lines = (
        (curve.challenger, figure, curve.line(figure, MOST_STEPS))
        for curve in run_curves(folder, recipe)
        for figure in curve.figures
    )
    return tuple(
        CurveLine(challenger=name, figure=figure, steps=tuple(s for s, _ in line), values=tuple(v for _, v in line))
        for name, figure, line in lines
        if line
    )


def _points(cycle: int, contender: str, result: CandidateResult, winner: bool) -> Iterator[Point]:
    """One policy's; what could not be measured has no point."""
    for metric in METRICS:
        found: Interval | None = getattr(result.metrics, metric, None)
        if found is not None:
            yield Point(
                **found.model_dump(),
                cycle=cycle,
                contender=contender,
                policy=result.policy or contender,
                metric=metric,
                judged_by="judge",
                winner=winner,
            )


def _is_shown(row: dict[str, Any]) -> bool:
    known = row["metric"] in METRICS and row["low"] is not None
    return known and row["judged_by"] == "truth" and row["split"] == "validation" and row["group"] == "all"


def _true_point(row: dict[str, Any]) -> Point:
    same = ("cycle", "metric", "judged_by", "value", "low", "high", "n", "winner")
    values = {name: row[name] for name in same}
    return Point.model_validate({**values, "contender": row["algorithm"], "policy": row["policy_version"]})
