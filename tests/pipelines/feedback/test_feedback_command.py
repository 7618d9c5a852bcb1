"""`salus feedback`, as it is typed."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from pipelines.cli.main import app
from pipelines.feedback.counts import count_feedback
from pipelines.feedback.items import ITEM_SCHEMA, read_items
from tests.actors.serve.feedback.given import captured, said, write_folder
from tests.pipelines.cli.refused import refused


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    answers = [captured(i, "the same question", "the same answer", policy=p) for i, p in (("a", "c1-dpo"), ("b", "c2"))]
    items = [
        said("a", "up"),
        said("b", "down", caller="[bold]x", policy="c2"),
        said("a", "up", caller="y"),
        said("gone", "corrected", "so", minutes=24 * 60),
    ]
    return write_folder(tmp_path / "feedback", answers, items)


def test_it_is_counted(folder: Path) -> None:
    counts = count_feedback(read_items(folder))
    assert (counts.items, counts.unknown_answers, counts.conflicts, counts.ties) == (4, 1, 1, 0)
    assert counts.by["policy"] == {"c1-dpo": {"up": 2, "corrected": 1}, "c2": {"down": 1}}
    assert counts.by["day"].keys() == {"2026-11-22", "2026-11-23"}


def test_show_and_export(folder: Path, tmp_path: Path) -> None:
    shown = CliRunner().invoke(app, ["feedback", "show", str(folder)], env={"COLUMNS": "200"})
    assert shown.exit_code == 0, shown.output
    assert "[bold]x" in shown.output and "4 in all (up 2, down 1, corrected 1)" in shown.output
    assert "called good and bad: 1 (0 of them evenly)" in shown.output
    out = tmp_path / "all.parquet"
    assert CliRunner().invoke(app, ["feedback", "export", str(folder), str(out)]).exit_code == 0
    table = pq.read_table(out)
    assert table.schema == ITEM_SCHEMA and table.num_rows == 4
    assert {row["answer_id"]: row["answer"] for row in table.to_pylist()}["gone"] is None


def test_no_feedback_yet(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "none", [], [])
    result = CliRunner().invoke(app, ["feedback", "show", str(folder)], env={"COLUMNS": "200"})
    assert result.exit_code == 0 and "No feedback in" in result.output


def test_what_is_refused_gets_a_sentence(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "holds no feedback" in refused(capsys, "feedback", "show", str(tmp_path))  # The folder above it.
    (tmp_path / "there.parquet").write_text("")
    assert "is there already" in refused(capsys, "feedback", "export", str(folder), str(tmp_path / "there.parquet"))
