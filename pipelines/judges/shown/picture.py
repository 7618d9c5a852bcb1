"""A judge's calibration as one picture: reliability before and after the temperature, and the confusion matrix.

A point on the diagonal is a bin whose labels are right as often as their probability says (Guo et al., ICML 2017,
figure 1). The bars below say how many answers each bin holds. Colours are Okabe and Ito's.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pipelines.judges.calibration_report import CalibrationReport
from pipelines.judges.reliability import ProbabilityScore
from pipelines.measures.agreement import Agreement
from pipelines.report.figure import save_png

BEFORE, AFTER = "#D55E00", "#0072B2"
DIAGONAL = "#999999"
GRID = "#dddddd"
# Characters of a judge's name in the title.
NAME_CHARS = 60


def draw_calibration(report: CalibrationReport, path: Path) -> Path:
    """Draw a calibration report into a PNG; returns its path."""
    figure = Figure(figsize=(10.5, 5.2), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(2, 2, height_ratios=(3.2, 1.0), width_ratios=(1.15, 1.0))
    lines = figure.add_subplot(grid[0, 0])
    counts = figure.add_subplot(grid[1, 0], sharex=lines)
    _diagonal(lines, counts)
    parts = (("as it is", report.before, BEFORE, "o", -1), ("calibrated", report.after, AFTER, "s", 1))
    for name, score, colour, marker, side in parts:
        if score is not None:
            label = f"{name}: ECE {score.ece.value:.3f} ({score.ece.low:.2f}-{score.ece.high:.2f})"
            _reliability(lines, score, label, colour, marker)
            _counts(counts, score, colour, side)
    if report.before is None:
        lines.text(0.5, 0.5, "too few labelled answers", ha="center", va="center", fontsize=9)
    else:
        lines.legend(loc="upper left", frameon=False, fontsize=8)
    _confusion(figure.add_subplot(grid[:, 1]), report.agreement)
    # A dollar sign would begin mathematics, and a name is not ours.
    figure.suptitle(_title(report), fontsize=10, parse_math=False)
    return save_png(figure, path)


def _title(report: CalibrationReport) -> str:
    name = report.judge.name if len(report.judge.name) <= NAME_CHARS else f"{report.judge.name[:NAME_CHARS]}..."
    temperature = f"temperature {report.temperature:.2f}" if report.temperature is not None else "not calibrated"
    verdict = "may select policies" if report.trust.trusted else "may not select policies"
    return f"{name} against human labels ({report.labels_source[:NAME_CHARS]}): {temperature}; {verdict}"


def _diagonal(lines: Axes, counts: Axes) -> None:
    lines.plot([0, 1], [0, 1], "--", color=DIAGONAL, linewidth=1.0, zorder=1)
    lines.set_xlim(0, 1)
    lines.set_ylim(-0.03, 1.03)
    lines.set_ylabel("share of labels that are right")
    lines.set_title("Reliability, on prompts the temperature was not fitted on", fontsize=9)
    lines.tick_params(labelbottom=False)
    lines.grid(color=GRID, linewidth=0.7)
    counts.set_xlabel("probability of the given label")
    counts.set_ylabel("answers")
    counts.grid(axis="y", color=GRID, linewidth=0.7)
    counts.set_axisbelow(True)
    for axes in (lines, counts):
        axes.spines[["top", "right"]].set_visible(False)


def _reliability(axes: Axes, score: ProbabilityScore, label: str, colour: str, marker: str) -> None:
    points = [(b.confidence, b.accuracy) for b in score.bins if b.confidence is not None and b.accuracy is not None]
    x, y = np.array(points).T
    # One bin may be on the frame, at a probability of 1.
    axes.plot(x, y, f"{marker}-", color=colour, label=label, markersize=5, linewidth=1.3, clip_on=False, zorder=3)


def _counts(axes: Axes, score: ProbabilityScore, colour: str, side: int) -> None:
    width = score.bins[0].high - score.bins[0].low
    middle = [(b.low + b.high) / 2 + side * width * 0.2 for b in score.bins]
    bars = axes.bar(middle, [b.n for b in score.bins], width=width * 0.38, color=colour)
    axes.bar_label(bars, labels=[str(b.n) if b.n else "" for b in score.bins], fontsize=6.5, color=colour)
    axes.margins(y=0.22)


def _confusion(axes: Axes, quality: Agreement) -> None:
    counts = np.array(quality.confusion, dtype=np.float64)
    rows = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, rows, out=np.zeros_like(counts), where=rows > 0)
    axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
    for (row, column), share in np.ndenumerate(shares):
        axes.text(
            column,
            row,
            f"{counts[row, column]:.0f}\n{share:.0%}",
            ha="center",
            va="center",
            fontsize=10,
            color="white" if share > 0.6 else "black",
        )
    places = range(len(quality.labels))
    axes.set_xticks(places, quality.labels)
    axes.set_yticks(places, quality.labels)
    axes.set_xlabel("judge")
    axes.set_ylabel("human")
    axes.spines[:].set_visible(False)
    figures = [
        f"{name} {interval.value:.2f} ({interval.low:.2f}-{interval.high:.2f})"
        for name, interval in (("accuracy", quality.accuracy), ("kappa", quality.kappa))
        if interval is not None
    ]
    axes.set_title("\n".join([f"Labels, n = {quality.n}; share of the human label", ", ".join(figures)]), fontsize=9)
