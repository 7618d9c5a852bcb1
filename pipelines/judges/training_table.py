"""The table a person reads after `salus judge train`: the judge on held-out prompts, before and after."""

from __future__ import annotations

from rich import box
from rich.table import Table

from pipelines.judges.calibration_table import interval_text
from pipelines.judges.training_report import JudgeTrainReport


def judge_training_table(report: JudgeTrainReport) -> Table:
    """Agreement with the held-out human labels; 95 % intervals over prompts."""
    table = Table(box=box.SIMPLE_HEAVY, pad_edge=False, collapse_padding=True)
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
