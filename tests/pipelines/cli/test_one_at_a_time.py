"""Every command that writes into a run folder refuses one that another process holds. Nothing here starts Ray."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipelines.config.load import save_recipe
from pipelines.runs.lease.lease import hold
from pipelines.runs.several import StudyFolder
from tests.pipelines.cli.refused import refused
from tests.pipelines.study.cells import cells, complete, study
from tests.quiet_reporter import QuietReporter

# Rules on data without human labels could not select policies; this asks for none.
TRUSTED = ("--set", "judge.accept_unreliable=true")


@pytest.mark.parametrize(
    "command", [("align", "demo"), ("align", "demo", "--fresh"), ("generate", "demo"), ("evaluate", "demo")]
)
def test_a_run_that_is_at_work_is_not_started_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    with hold(tmp_path, 60, QuietReporter().say) as lease:
        said = refused(capsys, *command, "--run", str(tmp_path), *TRUSTED)
        lease.check()
    assert f"{tmp_path} is in use by process {os.getpid()} on host " in said
    assert [path.name for path in tmp_path.iterdir()] == [".lease"]


@pytest.mark.parametrize(("command", "made"), [("judge", "rollouts"), ("train", "judgments")])
def test_a_later_step_is_not_started_either(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, made: str
) -> None:
    shard = tmp_path / "cycles" / "01" / made / "part-00000.parquet"
    shard.parent.mkdir(parents=True)
    shard.touch()
    (tmp_path / "recipe.yaml").touch()
    with hold(tmp_path, 60, QuietReporter().say):
        assert "is in use by process" in refused(capsys, command, "demo", "--run", str(tmp_path))


def test_a_study_that_is_at_work_is_not_started_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with hold(tmp_path, 60, QuietReporter().say):
        assert f"{tmp_path} is in use by process" in refused(capsys, "study", "study", "--run", str(tmp_path))


def test_fresh_forgets_no_cell_while_one_is_at_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = study("EXT")
    made = cells(config, tmp_path)
    for cell in made:
        complete(cell)
    save_recipe(config, StudyFolder(tmp_path).settings)
    arguments = ("study", str(StudyFolder(tmp_path).settings), "--run", str(tmp_path), "--fresh")
    with hold(made[1].run.root, 60, QuietReporter().say):
        assert f"{made[1].run.root} is in use by process" in refused(capsys, *arguments)
    assert all(cell.run.summary.is_file() for cell in made)
