"""A study's pictures, of the same kind as Figures 2 to 5 of arXiv 2512.04210, of which only the captions could be read.

The looks are those of a run's own picture (`pipelines.report.figure`): a mark for each challenger, the chosen one
filled. Ground truth or the outside judge is solid and large, the run's own judge dashed, small and pale.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from actors.contract.records import ChallengerName
from actors.contract.run_folder import RunFolder
from actors.judges.regimens import REGIMENS, Regimen
from pipelines.report.figure import (
    ALPHA,
    CHAMPION,
    PANELS,
    Looks,
    PointStyle,
    Row,
    add_legend,
    challengers_in,
    cycle_legend,
    cycle_rows,
    draw_mark,
    draw_panel,
    dress,
    judges_of,
    looks_of,
    new_figure,
    save_png,
)
from pipelines.runs.several import StudyFolder
from pipelines.runs.summary import CycleFigures, CycleSummary, JudgedBy, Measured, Summary, TestFigures, challengers_of
from pipelines.study.results import CellResult, StudyReport, figures_by, judged_by, reference

# How far the challengers' marks are from their cell's tick on either side, and the judge's aside.
WIDEST = 0.22
JUDGE_SHIFT = 0.1
SPREAD = 0.5


class _Dot(NamedTuple):
    x: float
    figures: CycleFigures | TestFigures | None
    mark: PointStyle
    by: JudgedBy


def draw_study(report: StudyReport, folder: StudyFolder) -> dict[int, str]:
    """Draw what the complete cells can fill; returns the file names by figure number."""
    drawn = {
        2: _after_one_cycle(report),
        3: _progress([c for c, _ in report.complete if REGIMENS[c.regimen].champion_judges], reference(report)),
        4: _progress([c for c, _ in report.complete if not REGIMENS[c.regimen].champion_judges], reference(report)),
        5: _best(report),
    }
    for number, figure in drawn.items():
        # A picture of an earlier session may show cells that were since begun anew.
        folder.figure(number).unlink(missing_ok=True)
        if figure is not None:
            save_png(figure, folder.figure(number))
    return {number: folder.figure(number).name for number, figure in drawn.items() if figure is not None}


def _after_one_cycle(report: StudyReport) -> Figure | None:
    """Figure 2: base and challengers of every cell after its first cycle, on the validation split."""
    cells = report.complete
    looks = looks_of(challengers_of(summary.cycles[0] for _, summary in cells))
    dots = [dot for at, (_, summary) in enumerate(cells) for dot in _first_cycle(at, summary.cycles[0], looks)]
    if not dots:
        return None
    figure = _dots([f"{cell.model}\n{cell.regimen}" for cell, _ in cells], dots, "after one cycle")
    challengers = [_sample(look.marker, look.colour, name.upper()) for name, look in looks.items()]
    sizes: dict[JudgedBy, tuple[int, str]] = {"judge": (5, "by own judge"), "truth": (7, f"by {reference(report)}")}
    judges = [
        Line2D([], [], linestyle="", marker="o", color="#777777", markersize=size, alpha=ALPHA[by], label=label)
        for by, (size, label) in sizes.items()
        if any(dot.by == by for dot in dots)
    ]
    add_legend(figure, [_sample("D", CHAMPION, "deployed"), *challengers, _hollow("s", "not chosen"), *judges])
    return figure


def _first_cycle(at: int, cycle: CycleSummary, looks: Looks) -> list[_Dot]:
    dots = []
    places = _places(list(looks))
    for by, figures in figures_by(cycle).items():
        for name, place in places.items():
            # Where both are drawn, the judge's marks are to the right of the truth's.
            shift = JUDGE_SHIFT * 2 / max(2, len(looks)) if by == "judge" and cycle.truth else 0.0
            marker, colour = looks[name][:2] if name in looks else ("D", CHAMPION)
            mark = PointStyle(marker, colour, filled=name in (cycle.decision, "champion"))
            dots.append(_Dot(at + place + shift, figures.get(name), mark, by))
    return dots


def _places(names: Sequence[ChallengerName]) -> dict[str, float]:
    """Sideways places around a cell's tick: the champion in the middle, half of the challengers on either side."""
    left = (len(names) + 1) // 2
    order = (*names[:left], "champion", *names[left:])
    return {name: (place - left) * WIDEST / max(left, 1) for place, name in enumerate(order)}


def _progress(cells: Sequence[CellResult], truth: str) -> Figure | None:
    """Figures 3 and 4: SS above ERR by cycle, one column for each cell."""
    rows: list[list[Row]] = [cycle_rows(pq.read_table(RunFolder(Path(cell.run)).metrics)) for cell in cells]
    if not rows:
        return None
    drawn = [row for of in rows for row in of]
    looks = looks_of(challengers_in(drawn))
    figure = new_figure(max(5.0, 3.6 * len(cells)), 6.4)
    axes = figure.subplots(len(PANELS), len(cells), squeeze=False)
    for line, (metric, title) in enumerate(PANELS):
        for column, cell in enumerate(cells):
            panel: Axes = axes[line][column]
            draw_panel(panel, rows[column], metric, f"{cell.model}, {cell.regimen}", looks)
            panel.set_ylabel(title if column == 0 else "")
    add_legend(figure, cycle_legend(judges_of(drawn), looks, truth))
    return figure


def _best(report: StudyReport) -> Figure | None:
    """Figure 5: the deployed model and each regimen's last champion on the test split, the best of a model filled."""
    models = list(dict.fromkeys(cell.model for cell, _ in report.complete))
    if not models:
        return None
    by = judged_by(report)
    dots = [
        dot
        for at, model in enumerate(models)
        for dot in _of_model(at, [(c, s) for c, s in report.complete if c.model == model], report.best.get(model), by)
    ]
    words = reference(report) if by == "truth" else "each run's own judge"
    figure = _dots(models, dots, f"test split, by {words}")
    present = dict.fromkeys(cell.regimen for cell, _ in report.complete)
    champions = [_sample("^", REGIMENS[regimen].colour, f"champion, {regimen}") for regimen in present]
    add_legend(figure, [_sample("D", CHAMPION, "deployed"), *champions, _hollow("^", "not best on validation")])
    return figure


def _of_model(at: int, cells: Sequence[tuple[CellResult, Summary]], best: Regimen | None, by: JudgedBy) -> list[_Dot]:
    """The deployed model, then its champions from left to right."""
    step = SPREAD / len(cells)
    dots = [_Dot(at - SPREAD / 2, cells[0][1].test.base, PointStyle("D", CHAMPION, True), by)]
    for place, (cell, summary) in enumerate(cells, start=1):
        mark = PointStyle("^", REGIMENS[cell.regimen].colour, cell.regimen == best)
        dots.append(_Dot(at - SPREAD / 2 + place * step, summary.test.champion, mark, by))
    return dots


def _dots(ticks: Sequence[str], dots: Sequence[_Dot], what: str) -> Figure:
    """SS above ERR over named places, each mark with its 95 % interval."""
    figure = new_figure(max(6.0, 1.2 * len(ticks) + 2.0), 6.4)
    for axes, (metric, title) in zip(figure.subplots(len(PANELS), 1), PANELS, strict=True):
        for dot in dots:
            measured: Measured | None = getattr(dot.figures, metric, None)
            if measured is not None:
                draw_mark(axes, dot.x, measured, dot.mark, dot.by)
        dress(axes, f"{title}: {what}")
        axes.set_xticks(range(len(ticks)), ticks)
        axes.set_xlim(-0.6, len(ticks) - 0.4)
    return figure


def _hollow(marker: str, label: str) -> Line2D:
    return Line2D([], [], linestyle="", marker=marker, color="#777777", mfc="white", label=label)


def _sample(marker: str, colour: str, label: str) -> Line2D:
    return Line2D([], [], linestyle="", marker=marker, color=colour, label=label)
