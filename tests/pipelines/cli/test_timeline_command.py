"""`salus runs timeline`: what it writes and prints, where, and what it refuses in one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from actors.contract.run_folder import RunFolder
from pipelines.cli.main import app
from pipelines.runs.checksums import check_sums, write_sums
from tests.pipelines.cli.refused import refused
from tests.pipelines.report.timeline.timed import timed_run, without_starts

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return timed_run(tmp_path / "demo-s7")


def test_a_finished_run_is_drawn_beside_itself_and_stays_as_it_was(run: RunFolder) -> None:
    write_sums(run)
    result = CliRunner().invoke(app, ["runs", "timeline", str(run.root)])
    assert result.exit_code == 0
    assert "final test" in result.output and "100.0%" in result.output
    out = run.root.parent / "demo-s7-timeline"
    assert sorted(path.name for path in out.iterdir()) == ["timeline.png", "timeline.trace.json"]
    assert (out / "timeline.png").read_bytes().startswith(PNG)
    assert json.loads((out / "timeline.trace.json").read_text(encoding="utf-8"))["traceEvents"]
    assert str(out / "timeline.png") in result.output
    assert check_sums(run).intact
    assert CliRunner().invoke(app, ["runs", "verify", str(run.root)]).exit_code == 0


def test_it_goes_where_it_is_told_as_often_as_it_is_told(run: RunFolder, tmp_path: Path) -> None:
    out = tmp_path / "new" / "folder"
    for _ in range(2):
        assert CliRunner().invoke(app, ["runs", "timeline", str(run.root), "--out", str(out)]).exit_code == 0
    assert (out / "timeline.png").is_file()
    assert not run.root.with_name("demo-s7-timeline").exists()


def test_a_run_of_an_earlier_version_is_drawn_and_said_to_be_one(run: RunFolder) -> None:
    without_starts(run, 1)
    result = CliRunner().invoke(app, ["runs", "timeline", str(run.root)])
    assert result.exit_code == 0
    assert "5 stages, of an earlier version, are laid end to end" in result.output


def test_a_relative_run_is_found(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run.root)
    assert CliRunner().invoke(app, ["runs", "timeline", "."]).exit_code == 0
    assert (run.root.parent / "demo-s7-timeline" / "timeline.png").is_file()


def test_what_is_no_run_and_what_has_no_times(
    run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "is not a run folder: it has no recipe.yaml" in refused(capsys, "runs", "timeline", str(tmp_path / "none"))
    for path in (run.stages(1), run.stages(2), run.stage_log):
        path.unlink()
    assert "holds no times yet" in refused(capsys, "runs", "timeline", str(run.root))


def test_a_folder_it_cannot_or_must_not_write_to(
    run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inside = refused(capsys, "runs", "timeline", str(run.root), "--out", str(run.root / "cycles"))
    assert "is in the run" in inside and "--out" in inside
    (tmp_path / "file").touch()
    assert "cannot be written to" in refused(capsys, "runs", "timeline", str(run.root), "--out", str(tmp_path / "file"))
