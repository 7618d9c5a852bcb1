"""`salus runs list` and `salus runs show`."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from actors.contract.publication import RefusedPublication, note_refusal
from pipelines.cli.main import app
from pipelines.runs.checksums import run_hash
from pipelines.runs.finished.catalog import RunLine, UnreadableRun, read_line
from pipelines.runs.finished.find import find_runs
from pipelines.runs.finished.gc import collect, gc_plan
from tests.pipelines.cli.refused import refused
from tests.pipelines.runs.finished.made import LOST, TRUST, RunMaker, lines, put


def test_a_run_on_one_line(tmp_path: Path, made_run: RunMaker) -> None:
    folder = made_run(tmp_path / "run")
    line = read_line(folder.root, "run")
    assert isinstance(line, RunLine)
    assert (line.recipe, line.seed, line.cycles_done, line.cycles, line.champion) == ("demo", 7, 1, 1, "c1-kto")
    assert line.ss_base is not None and line.ss_champion is not None
    assert (line.ss_base.value, line.ss_champion.value) == (0.5, 1.0)
    assert line.run_hash == run_hash(folder)
    assert line.bytes == sum(path.stat().st_size for path in folder.root.rglob("*") if path.is_file())


def test_a_run_that_was_just_begun(tmp_path: Path, made_run: RunMaker) -> None:
    folder = made_run(tmp_path / "run", "cycles=1")
    for path in (folder.decision(1), folder.summary, folder.sums):
        path.unlink()
    line = read_line(folder.root, "run")
    assert isinstance(line, RunLine)
    assert (line.cycles_done, line.champion, line.ss_champion, line.run_hash) == (0, None, None, None)


def test_runs_and_cells_of_studies_are_found_and_other_folders_are_not(tmp_path: Path) -> None:
    for name in ("b", "a", "study/cells/one"):
        put(tmp_path / name / "recipe.yaml", b"")
    put(tmp_path / "study" / "study.yaml", b"")
    put(tmp_path / "notes" / "x.txt", b"")
    put(tmp_path / "notes" / "deep" / "recipe.yaml", b"")
    put(tmp_path / "recipe.txt", b"")
    found = [path.relative_to(tmp_path).as_posix() for path in find_runs(tmp_path)]
    assert found == ["a", "b", "study/cells/one"]
    assert find_runs(tmp_path / "study") == [tmp_path / "study" / "cells" / "one"]
    assert find_runs(tmp_path / "a") == [tmp_path / "a"]


@pytest.mark.parametrize("name", ["recipe.yaml", "run.json", "summary.json", "cycles/01/decision.json"])
def test_the_fault_of_an_unreadable_run_is_shown(tmp_path: Path, made_run: RunMaker, name: str) -> None:
    folder = made_run(tmp_path / "[red]run")
    put(folder.root / name, b"\xff{")
    line = read_line(folder.root, "run")
    assert isinstance(line, UnreadableRun)
    assert name in line.fault
    made_run(tmp_path / "good")
    said = CliRunner().invoke(app, ["runs", "list", str(tmp_path)])
    assert said.exit_code == 0
    assert "[red]run unreadable" in lines(said.output) and "[red]run: " in said.output
    assert "good demo, 7 1/1 c1-kto 0.500 ->" in lines(said.output)


def test_a_folder_without_runs_and_no_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert lines(CliRunner().invoke(app, ["runs", "list", str(tmp_path)]).output).startswith("No runs in ")
    assert "There is no folder" in refused(capsys, "runs", "list", str(tmp_path / "nothing"))


def test_a_run_is_shown_with_all_that_is_known_of_it(tmp_path: Path, made_run: RunMaker) -> None:
    folder = made_run(tmp_path / "run")
    said = CliRunner().invoke(app, ["runs", "show", str(folder.root)])
    assert said.exit_code == 0
    shown = lines(said.output)
    for known in (
        "demo, seed 7, 1 cycles",
        "salus 0.1.0",
        "git revision",
        str(run_hash(folder)),
        "Cycle 1: kto replaces the champion",
        # Once, though summary and trust both hold it; what looks like markup stays.
        TRUST.note,
        "c1-kto 1 2026-11-22T00:00:00+00:00 0.10 s 1",
        "cycles/01/judgments judgments 1",
        "summary.json summary 1",
    ):
        assert shown.count(known) == 1, known
    collect(gc_plan(folder))
    assert f"{LOST} weights 2 removed" in lines(CliRunner().invoke(app, ["runs", "show", str(folder.root)]).output)


def test_a_run_that_is_under_way_is_shown(tmp_path: Path, made_run: RunMaker) -> None:
    folder = made_run(tmp_path / "run")
    for path in (folder.summary, folder.sums, folder.judge_trust, folder.publications):
        path.unlink()
    why = "Policy c1-kto was refused (smoke) and c0-base stays: [red]it loops."
    refusal = RefusedPublication(version="c1-kto", step="smoke", refused=why, refused_at="2026-11-22")
    note_refusal(folder.decision(1), refusal)
    shown = lines(CliRunner().invoke(app, ["runs", "show", str(folder.root)]).output)
    assert "not finished" in shown and "Cycle 1: kto replaces the champion" in shown
    assert why in shown
    assert "Nothing is recorded of how far the judge may be trusted." in shown
