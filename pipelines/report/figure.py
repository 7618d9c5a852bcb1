"""SS and ERR by cycle as one picture: a mark for each challenger, the winner's filled, and the champion's path.

After Figure 3 of arXiv 2512.04210, of which only the caption could be read. Ground truth is drawn solid, the
run's own judge dashed and paler. Colours are Okabe and Ito's, told apart by colour-blind readers.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pyarrow as pa
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from actors.contract.records import ChallengerName
from actors.errors import SalusError
from actors.files.shards import write_bytes
from actors.training.algorithms.row import Hue, Shape
from actors.training.algorithms.table import marks
from pipelines.measures.baselines import BASELINES
from pipelines.runs.summary import GROUND_TRUTH, JudgedBy, Measured

COLOUR: dict[Hue, str] = {
    "blue": "#0072B2", "vermilion": "#D55E00", "green": "#009E73", "purple": "#CC79A7", "amber": "#E69F00",
    "sky": "#56B4E9",
}  # fmt: skip
MARKER: dict[Shape, str] = {
    "square": "s", "circle": "o", "triangle": "^", "turned_triangle": "v", "pentagon": "p", "hexagon": "h"
}  # fmt: skip
# Sideways shift in cycles of the first challenger on either side, so that error bars do not hide each other.
SHIFT = 0.08
CHAMPION = "#333333"
LINE: dict[JudgedBy, Literal["-", "--"]] = {"truth": "-", "judge": "--"}
ALPHA: dict[JudgedBy, float] = {"truth": 1.0, "judge": 0.5}
# Room for one column of the legend. Inches.
LEGEND_COLUMN = 1.75
# A judge's points are drawn further out than the truth's. Cycles.
JUDGE_SHIFT = 0.09
# Who else the rows tell of.
_NO_CHALLENGERS = frozenset(("base", "champion", *BASELINES))
Row = dict[str, Any]
PANELS = (("ss", "Safety Score (SS), higher is better"), ("err_strict", "ERR strict, lower is better"))


class Look(NamedTuple):
    """How a challenger is drawn; `shift` is sideways, in cycles."""

    marker: str
    colour: str
    shift: float


Looks = Mapping[ChallengerName, Look]


@dataclass(frozen=True)
class PointStyle:
    """How a policy is drawn; the chosen one is filled."""

    marker: str
    colour: str
    filled: bool


@dataclass(frozen=True)
class _Point:
    cycle: int
    algorithm: str
    winner: bool
    value: float
    low: float
    high: float


def draw_cycles(metrics: pa.Table, path: Path, split: str = "validation", reference: str | None = None) -> Path:
    """Draw SS and ERR (strict) by cycle into a PNG.

    Args:
        metrics: rows of `METRICS_SCHEMA`; those of the split and of group "all" are drawn. Cycle 0 is
            algorithm "base", or else what cycle 1 measured of its champion.
        path: of the PNG to write.
        split: which split to draw.
        reference: who gave the labels called truth; None: ground truth.

    Returns:
        The path.

    Raises:
        SalusError: no row of that split.
    """
    rows = cycle_rows(metrics, split)
    if not rows:
        raise SalusError(f"The metrics hold no row of the {split} split: there is nothing to draw in {path}.")
    figure = new_figure(10.5, 4.4)
    axes = figure.subplots(1, len(PANELS))
    looks = looks_of(challengers_in(rows))
    for panel, (metric, title) in zip(axes, PANELS, strict=True):
        draw_panel(panel, rows, metric, title, looks)
    add_legend(figure, cycle_legend(judges_of(rows), looks, reference))
    return save_png(figure, path)


def cycle_rows(metrics: pa.Table, split: str = "validation") -> list[Row]:
    """The rows of `METRICS_SCHEMA` that are drawn by cycle."""
    return [row for row in metrics.to_pylist() if row["split"] == split and row["group"] == "all"]


def challengers_in(rows: Iterable[Row]) -> list[ChallengerName]:
    """The challengers among the policies of these rows, in the order they are found in."""
    return list(dict.fromkeys(row["algorithm"] for row in rows if row["algorithm"] not in _NO_CHALLENGERS))


def looks_of(names: Sequence[ChallengerName]) -> Looks:
    """How these challengers are drawn, from left to right, beside the place of a champion that stayed."""
    places = len(names) + len(names) % 2
    shifts = [(2 * place - (places - 1)) * SHIFT for place in range(places)]
    drawn = marks(names)
    return {
        name: Look(MARKER[drawn[name].shape], COLOUR[drawn[name].hue], shift)
        for name, shift in zip(names, shifts, strict=False)
    }


def judges_of(rows: Sequence[Row]) -> list[JudgedBy]:
    """Who judged the rows; the truth last, so that it is drawn on top."""
    present = {row["judged_by"] for row in rows}
    order: tuple[JudgedBy, ...] = ("judge", "truth")
    return [judged_by for judged_by in order if judged_by in present]


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of this many inches that is drawn without a display."""
    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_png(figure: Figure, path: Path) -> Path:
    """Write a figure as a PNG, whole or not at all; returns its path."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png")
    write_bytes(drawn.getvalue(), path)
    return path


def add_legend(figure: Figure, handles: Sequence[Line2D]) -> None:
    """One legend below all panels, in as many columns as the figure is wide enough for."""
    columns = max(1, min(6, int(figure.get_figwidth() / LEGEND_COLUMN)))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False, fontsize=8)


def draw_panel(axes: Axes, rows: Sequence[Row], metric: str, title: str, looks: Looks) -> None:
    """One metric by cycle, of every policy of a run and by every judge of it."""
    judges = judges_of(rows)
    for judged_by in judges:
        _draw(axes, _points(rows, metric, judged_by), judged_by, len(judges) > 1, looks)
    dress(axes, title)
    cycles = max(row["cycle"] for row in rows)
    axes.set_xlabel("cycle (0 = deployed)")
    axes.set_xticks(range(cycles + 1))
    axes.set_xlim(-0.35, cycles + 0.35)


def _points(rows: Sequence[Row], metric: str, judged_by: JudgedBy) -> list[_Point]:
    return [
        _Point(row["cycle"], row["algorithm"], row["winner"], row["value"], row["low"], row["high"])
        for row in rows
        if row["metric"] == metric and row["judged_by"] == judged_by
    ]


def _draw(axes: Axes, points: list[_Point], judged_by: JudgedBy, both: bool, looks: Looks) -> None:
    outwards = JUDGE_SHIFT if both and judged_by == "judge" else 0.0
    path = _champion_path(points)
    axes.plot(
        [_x(point, outwards, looks) for point in path],
        [point.value for point in path],
        LINE[judged_by],
        color=CHAMPION,
        alpha=ALPHA[judged_by],
        linewidth=1.4,
        zorder=2,
    )
    for point in points:
        if (look := looks.get(point.algorithm)) is not None:
            style = PointStyle(look.marker, look.colour, point.winner)
            draw_mark(axes, _x(point, outwards, looks), _measured(point), style, judged_by)
    # Where the champion is itself a point of the path: the deployed model, and each time it stayed.
    for point in path:
        if point.algorithm not in looks:
            style = PointStyle("D", CHAMPION, filled=True)
            draw_mark(axes, _x(point, outwards, looks), _measured(point), style, judged_by)


def _measured(point: _Point) -> Measured:
    return Measured(value=point.value, low=point.low, high=point.high)


def draw_mark(axes: Axes, x: float, measured: Measured, mark: PointStyle, judged_by: JudgedBy) -> None:
    """One figure with its 95 % interval; the judge's is smaller and paler than the truth's."""
    value = measured.value
    axes.errorbar(
        [x],
        [value],
        # Distances to the interval's ends, shape (2, 1).
        yerr=[[max(value - measured.low, 0.0)], [max(measured.high - value, 0.0)]],
        fmt=mark.marker,
        color=mark.colour,
        markerfacecolor=mark.colour if mark.filled else "white",
        markersize=7 if judged_by == "truth" else 5,
        capsize=2.5,
        elinewidth=1.0,
        alpha=ALPHA[judged_by],
        zorder=3,
    )


def _champion_path(points: list[_Point]) -> list[_Point]:
    """The deployed model (cycle 0), then each cycle's winner."""
    start = [p for p in points if p.cycle == 0 and p.algorithm in ("base", "champion")]
    if not start:
        first = [p for p in points if p.cycle == 1 and p.algorithm == "champion"]
        start = [_Point(0, p.algorithm, p.winner, p.value, p.low, p.high) for p in first]
    winners = sorted((p for p in points if p.winner and p.cycle > 0), key=lambda p: p.cycle)
    return start[:1] + winners


def _x(point: _Point, outwards: float, looks: Looks) -> float:
    look = looks.get(point.algorithm)
    if look is None:
        return float(point.cycle)
    return point.cycle + look.shift + (outwards if look.shift > 0 else -outwards)


def dress(axes: Axes, title: str) -> None:
    """The looks that all panels of shares have in common."""
    axes.set_title(title, fontsize=10)
    axes.set_ylim(-0.03, 1.03)
    axes.grid(axis="y", color="#dddddd", linewidth=0.7)
    axes.spines[["top", "right"]].set_visible(False)


def cycle_legend(judges: Sequence[JudgedBy], looks: Looks, reference: str | None = None) -> list[Line2D]:
    """What the marks and lines of `draw_panel` mean; `reference`: who gave the labels called truth, where not that."""
    marks = [
        Line2D([], [], linestyle="", marker=look.marker, color=look.colour, label=name.upper())
        for name, look in looks.items()
    ]
    hollow = Line2D([], [], linestyle="", marker="s", color="#777777", mfc="white", label="not chosen")
    stayed = Line2D([], [], linestyle="", marker="D", color=CHAMPION, label="deployed, or champion stayed")
    words: dict[JudgedBy, str] = {"truth": f"champion, {reference or GROUND_TRUTH}", "judge": "champion, own judge"}
    paths = [
        Line2D([], [], linestyle=LINE[by], color=CHAMPION, alpha=ALPHA[by], label=words[by]) for by in reversed(judges)
    ]
    return [*marks, hollow, stayed, *paths]
