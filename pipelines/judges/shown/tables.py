"""The tables a person reads after `salus judge calibrate` and `salus judge train`."""

from __future__ import annotations

from rich.table import Table

from pipelines.judges.calibration_report import CalibrationReport
from pipelines.judges.training.report import JudgeTrainReport
from pipelines.report.cells import NOTHING, interval_text, narrow_table


def calibration_table(report: CalibrationReport) -> Table:
    """Agreement, probabilities and thresholds of one judge; 95 % intervals over prompts."""
    table = narrow_table()
    table.add_column("figure")
    for column in ("as it is", "calibrated", "needed"):
        table.add_column(column, justify="right", no_wrap=True)
    quality, limits = report.agreement, report.thresholds
    table.add_row("accuracy", interval_text(quality.accuracy), "", f">= {limits.min_accuracy:g}")
    table.add_row("kappa", interval_text(quality.kappa), "", f">= {limits.min_kappa:g}")
    for label in quality.labels:
        needed = f">= {limits.min_refuse_recall:g}" if label == "Refuse" else ""
        table.add_row(f"recall of {label}", interval_text(quality.recall.get(label)), "", needed)
    harmful = report.harmful
    if harmful is not None:
        where = "level >= 1" if harmful.levels_known else "level unknown"
        precision, seen = f">= {limits.min_refuse_precision:g}", f">= {limits.min_accept_recall:g}"
        table.add_row(f"precision of Refuse, {where}", interval_text(harmful.refuse_precision), "", precision)
        table.add_row(f"recall of Accept, {where}", interval_text(harmful.accept_recall), "", seen)
    for each in report.levels:
        few = "few labels" if each.n < limits.min_level_n else ""
        table.add_row(f"accuracy, level {each.level} ({each.n})", interval_text(each.accuracy), "", few)
    for order, score in (report.spliced or {}).items():
        table.add_row(order.replace("_", " "), interval_text(score.accuracy), "", "")
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


def judge_training_table(report: JudgeTrainReport) -> Table:
    """Agreement with the held-out human labels; 95 % intervals over prompts."""
    table = narrow_table()
    table.add_column("held-out labels")
    for column in ("before", "after"):
        table.add_column(column, justify="right", no_wrap=True)
    both = (report.before, report.after)
    table.add_row("accuracy", *(interval_text(quality.accuracy) for quality in both))
    table.add_row("kappa", *(interval_text(quality.kappa) for quality in both))
    for label, count in report.held_out_labels.items():
        table.add_row(f"recall of {label} ({count})", *(interval_text(quality.recall.get(label)) for quality in both))
    table.add_row("coverage", *(f"{quality.coverage:.3f}" for quality in both))
    table.add_row("n", *(str(quality.n) for quality in both))
    return table
