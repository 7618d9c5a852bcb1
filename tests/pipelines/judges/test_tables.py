"""What a person sees of a calibration: the picture and the table, also where little could be measured."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from pipelines.judges.calibration_report import CalibrationReport
from pipelines.judges.shown.picture import draw_calibration
from pipelines.judges.shown.tables import calibration_table
from tests.pipelines.judges.calibrated import EXT, Sharpness, drawn, report_of


@pytest.fixture(scope="module")
def report() -> CalibrationReport:
    return report_of(drawn(600, Sharpness(overconfidence=3.0)))


def text(report: CalibrationReport) -> str:
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(calibration_table(report))
    return console.export_text()


def test_the_picture_is_drawn(report: CalibrationReport, tmp_path: Path) -> None:
    drawn_to = draw_calibration(report, tmp_path / "new" / "calibration.png")
    assert drawn_to.read_bytes().startswith(b"\x89PNG") and drawn_to.stat().st_size > 20_000


def test_names_are_never_read_as_mathematics(report: CalibrationReport, tmp_path: Path) -> None:
    named = report.model_copy(
        update={"judge": EXT.model_copy(update={"name": r"$\frac{" * 40}), "labels_source": "{0}_$x"}
    )
    assert draw_calibration(named, tmp_path / "named.png").is_file()


def test_a_judge_without_verdicts_is_still_drawn_and_tabled(tmp_path: Path) -> None:
    silent = report_of(drawn(30, Sharpness(missing=1.0)))
    assert draw_calibration(silent, tmp_path / "silent.png").is_file()
    printed = text(silent)
    assert "-" in printed and "0.000" in printed


def test_the_table_fits_80_columns(report: CalibrationReport) -> None:
    printed = text(report)
    assert "\u2026" not in printed
    assert max(len(line.rstrip()) for line in printed.splitlines()) <= 80
    for words in ("kappa", "recall of Refuse", "<= 0.1", ">= 200", f"{report.temperature:.2f}"):
        assert words in printed
