"""`salus review`, as it is typed."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from actors.contract.run_folder import RunFolder
from pipelines.cli.main import app
from pipelines.config.load import load_recipe, save_recipe
from pipelines.feedback.review.labels import LabelLog
from tests.pipelines.cli.controls import controls
from tests.pipelines.cli.refused import refused
from tests.pipelines.feedback.review.answered import TORN, answered, write_judgments


def typed(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["review", *arguments], env={"COLUMNS": "160"})
    assert result.exit_code == 0, result.output
    return result.output


def judged_run(root: Path) -> RunFolder:
    hostile = answered(2, TORN, answer="[bold]red[/bold] \x1b[31m\nsecond line")
    folder = write_judgments(root, 1, [answered(1, TORN, level=3), hostile])
    save_recipe(load_recipe("demo"), folder.recipe)
    return folder


def test_answers_that_wait_are_listed(tmp_path: Path) -> None:
    run = str(judged_run(tmp_path / "run").root)
    shown = typed("list", run)
    assert "request 1" in shown and "[bold]red[/bold]" in shown and controls(shown) == set() and "\\x1b[31m" in shown
    assert "1 more." in typed("list", run, "--top", "1")
    log = LabelLog(tmp_path / "labels")
    log.add("request 1", "answer 1", "Refuse", "alice")
    assert "request 1" not in typed("list", run, "--labels", str(tmp_path / "labels"))


def test_labels_are_exported(tmp_path: Path) -> None:
    LabelLog(tmp_path / "labels").add("request 1", "answer 1", "Refuse", "alice", comment="it declines")
    assert "1 label in" in typed("export", str(tmp_path / "labels"), str(tmp_path / "gold.csv"))
    head, row = (tmp_path / "gold.csv").read_text().splitlines()
    assert (head, row) == ('"prompt","answer","label","comment"', '"request 1","answer 1","Refuse","it declines"')


def test_what_is_no_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "is not a run folder" in refused(capsys, "review", "list", str(tmp_path))
    assert "There is no folder of labels" in refused(capsys, "review", "export", str(tmp_path / "none"), "gold.csv")
