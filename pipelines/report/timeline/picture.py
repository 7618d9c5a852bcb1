"""A timeline as one picture: a lane per worker, a colour per stage, pauses of the run cut out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.lines import Line2D

from pipelines.cluster.times import covered
from pipelines.report.figure import add_legend, new_figure, save_png
from pipelines.report.timeline.read import ENDPOINT_START, PUBLICATION, Stretch, Timeline, TimelineLane

# Time that no stage and no worker covers is cut out from this length on. A run resumed the next day, or served for
# hours after its last cycle, would otherwise be a few hairlines.
PAUSE_S = 30.0
# What a pause leaves, as a share of what is drawn.
CUT = 0.01
# Okabe and Ito's colours for the steps of a cycle, greys for what is around them.
COLOUR = {
    "prepare": "#d9d9d9",
    "start-up": "#b0b0b0",
    "rollout": "#0072B2",
    "red team": "#882255",
    "preference": "#F0E442",
    "train": "#D55E00",
    "evaluate": "#56B4E9",
    "decide": "#CC79A7",
    "published": "#44AA99",
    ENDPOINT_START: "#999999",
    PUBLICATION: "#000000",
    "final test": "#009E73",
    "schemes": "#117733",
    "outside judge": "#332288",
    "served answers": "#E69F00",
    "shut-down": "#808080",
    "report": "#5f5f5f",
}
OTHER = "other"
OTHER_COLOUR, OTHER_EDGE = "#ffffff", "#999999"
CYCLE_COLOURS = ("#eeeeee", "#dddddd")
# Inches.
WIDTH, WIDTH_OF_CYCLE, WIDEST = 10.0, 0.3, 22.0
HEIGHT, HEIGHT_OF_LANE, HIGHEST = 1.5, 0.3, 14.0
# More names than this, of lanes or of cycles, would run into each other.
MOST_NAMES = 40
UNITS = ((7200.0, 3600.0, "hours"), (600.0, 60.0, "minutes"), (0.0, 1.0, "seconds"))


class Elapsed:
    """Seconds since the epoch -> seconds of the run."""

    def __init__(self, timeline: Timeline) -> None:
        stretches = covered(bar for lane in timeline.lanes for bar in lane.bars)
        left_s = CUT * sum(end - start for start, end in stretches)
        at, ends = 0.0, stretches[0][0]
        self.pauses_s: list[float] = []
        self._clock: list[float] = []
        self._run: list[float] = []
        for start, end in stretches:
            paused = start - ends > PAUSE_S
            at += left_s if paused else start - ends
            if paused:
                self.pauses_s.append(at - left_s / 2)
            self._clock += [start, end]
            self._run += [at, at + end - start]
            at, ends = self._run[-1], end

    @property
    def total_s(self) -> float:
        return self._run[-1]

    def at(self, clock_s: Sequence[float]) -> npt.NDArray[np.float64]:
        """Where these times are drawn, shape (n,)."""
        drawn: npt.NDArray[np.float64] = np.interp(np.asarray(clock_s), self._clock, self._run)
        return drawn


def draw_timeline(timeline: Timeline, path: Path) -> Path:
    """Draw a PNG of at most 22 x 14 inches; returns its path."""
    elapsed = Elapsed(timeline)
    cycles = sum(len(lane.bars) for lane in timeline.lanes if lane.counts_cycles)
    figure = new_figure(
        min(WIDEST, WIDTH + WIDTH_OF_CYCLE * cycles), min(HIGHEST, HEIGHT + HEIGHT_OF_LANE * len(timeline.lanes))
    )
    axes = figure.subplots()
    scale, unit = next((scale, unit) for least, scale, unit in UNITS if elapsed.total_s >= least)
    _draw_bars(axes, timeline, elapsed, scale)
    for pause_s in elapsed.pauses_s:
        axes.axvline(pause_s / scale, color="#333333", linestyle=":", linewidth=1.0)
    _dress(axes, timeline, unit + (" (dotted: a pause of the run, cut out)" if elapsed.pauses_s else ""))
    axes.set_xlim(0, max(elapsed.total_s, 1e-3) / scale)
    add_legend(figure, _legend(timeline))
    return save_png(figure, path)


def _draw_bars(axes: Axes, timeline: Timeline, elapsed: Elapsed, scale: float) -> None:
    """All bars as one collection: thousands of engines as one each take matplotlib minutes to lay out."""
    boxes, colours = [], []
    for row, lane in enumerate(timeline.lanes):
        starts = elapsed.at([bar.start_s for bar in lane.bars]) / scale
        ends = elapsed.at([bar.end_s for bar in lane.bars]) / scale
        low, high = np.full(len(starts), row - 0.4), np.full(len(starts), row + 0.4)
        corners = ((starts, low), (ends, low), (ends, high), (starts, high))
        boxes.append(np.stack([np.stack(corner, axis=1) for corner in corners], axis=1))
        colours += [_colour(lane, bar) for bar in lane.bars]
        if lane.counts_cycles:
            _number(axes, row, lane, (starts + ends) / 2)
    # Edges of the bars' own colour: a swap of 0.2 s would be narrower than a pixel.
    edges = [OTHER_EDGE if colour == OTHER_COLOUR else colour for colour in colours]
    axes.add_collection(
        PolyCollection(list(np.concatenate(boxes)), facecolors=colours, edgecolors=edges, linewidths=0.5, zorder=2)
    )


def _colour(lane: TimelineLane, bar: Stretch) -> str:
    return CYCLE_COLOURS[(bar.cycle or 0) % 2] if lane.counts_cycles else COLOUR.get(bar.name, OTHER_COLOUR)


def _number(axes: Axes, row: int, lane: TimelineLane, middles: npt.NDArray[np.float64]) -> None:
    every = -(-len(lane.bars) // MOST_NAMES)
    for bar, middle in list(zip(lane.bars, middles, strict=True))[::every]:
        axes.text(middle, row, str(bar.cycle), ha="center", va="center", fontsize=7)


def _dress(axes: Axes, timeline: Timeline, unit: str) -> None:
    every = -(-len(timeline.lanes) // MOST_NAMES)
    axes.set_yticks(range(0, len(timeline.lanes), every))
    # A name may hold a dollar sign, which would begin a formula.
    axes.set_yticklabels([lane.title for lane in timeline.lanes[::every]], fontsize=8, parse_math=False)
    axes.set_ylim(len(timeline.lanes) - 0.5, -0.5)
    axes.set_xlabel(unit, fontsize=9)
    axes.set_title(f"{timeline.run}: who worked when", fontsize=10, parse_math=False)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="#dddddd", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _legend(timeline: Timeline) -> list[Line2D]:
    """The colours that occur, in the order in which a run meets them."""
    drawn = {bar.name for lane in timeline.lanes if not lane.counts_cycles for bar in lane.bars}
    keys = [(name, colour) for name, colour in COLOUR.items() if name in drawn]
    if drawn - COLOUR.keys():
        keys.append((OTHER, OTHER_COLOUR))
    return [
        Line2D([], [], linestyle="", marker="s", markersize=8, color=colour, markeredgecolor=OTHER_EDGE, label=name)
        for name, colour in keys
    ]
