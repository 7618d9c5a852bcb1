"""Salus as a program or a notebook uses it."""

from __future__ import annotations

import io
from pathlib import Path
from types import ModuleType

import pytest

import pipelines
from actors.errors import SalusError
from pipelines import align, load_recipe, read_summary
from pipelines.cli.console.output import SafeConsole
from pipelines.cluster.progress import RichReporter
from tests.examples.cells import EXAMPLE, run_cells
from tests.pipelines.runs.finished.made import SETTINGS, RunMaker


def test_the_example_runs(made_run: RunMaker, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = made_run(tmp_path / "run")
    changes = [*SETTINGS, "judge.accept_unreliable=true"]
    left = run_cells(EXAMPLE, RECIPE="demo", CHANGES=changes, RUN=str(run.root))
    printed = capsys.readouterr()
    assert "cycle 1: kto." in printed.out and "Safety Score on the test split" in printed.out
    assert f"{run.root} is complete" in printed.err
    assert left["summary"] == read_summary(run.root)


def test_quiet_is_quiet(made_run: RunMaker, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = made_run(tmp_path / "run")
    recipe = load_recipe("demo", [*SETTINGS, "judge.accept_unreliable=true"])
    assert align(recipe, run.root, quiet=True).cycles
    assert capsys.readouterr() == ("", "")


def test_what_is_no_run_gets_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(SalusError, match="is not a run"):
        read_summary(tmp_path)


def test_all_that_is_offered_is_there() -> None:
    assert all(callable(getattr(pipelines, name)) for name in pipelines.__all__)


@pytest.mark.parametrize("widgets", [True, False])
def test_a_notebook_without_widgets_gets_lines(widgets: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def find_spec(name: str, package: str | None = None) -> object:
        return ModuleType(name) if widgets else None

    monkeypatch.setattr("pipelines.cluster.progress.find_spec", find_spec)
    console = SafeConsole(file=io.StringIO(), force_jupyter=False, force_terminal=True)
    console.is_jupyter = True
    bar = RichReporter(console).bar("training", 10, "steps")
    assert ("Log" in type(bar).__name__) == (not widgets)
