"""The table a person reads after a calibration: one row a figure, before and after the temperature."""

from __future__ import annotations

from rich import box
from rich.table import Table

from actors.contract.records import Interval
from pipelines.judges.calibration_report import CalibrationReport

NOTHING = "-"


def calibration_table(report: CalibrationReport) -> Table:
    """Agreement, probabilities and thresholds of one judge; 95 % intervals over prompts."""
    table = Table(box=box.SIMPLE_HEAVY, pad_edge=False, collapse_padding=True)
    table.add_column("figure")
    for column in ("as it is", "calibrated", "needed"):
        table.add_column(column, justify="right", no_wrap=True)
    quality, limits = report.agreement, report.thresholds
    table.add_row("accuracy", interval_text(quality.accuracy), "", f">= {limits.min_accuracy:g}")
    table.add_row("kappa", interval_text(quality.kappa), "", f">= {limits.min_kappa:g}")
    for label in quality.labels:
        needed = f">= {limits.min_refuse_recall:g}" if label == "Refuse" else ""
        table.add_row(f"recall of {label}", interval_text(quality.recall.get(label)), "", needed)
    for name, title in (("ece", "calibration error"), ("nll", "NLL, nats"), ("brier", "Brier score")):
        before, after = (getattr(part, name) if part is not None else None for part in (report.before, report.after))
        table.add_row(
            title, interval_text(before), interval_text(after), f"<= {limits.max_ece:g}" if name == "ece" else ""
        )
    table.add_row("coverage", f"{quality.coverage:.3f}", "", f">= {limits.min_coverage:g}")
    table.add_row("n", str(quality.n), "", f">= {limits.min_n}")
    temperature = f"{report.temperature:.2f}" if report.temperature is not None else NOTHING
    table.add_row("temperature", "1", temperature, "")
    return table


def interval_text(interval: Interval | None) -> str:
    """A figure and its interval, or a dash where there is none."""
    if interval is None:
        return NOTHING
    return f"{interval.value:.3f} ({interval.low:.2f}-{interval.high:.2f})"
