"""A run that nothing improves ends early, and everybody who is asked says why."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from actors.contract.run_folder import RunFolder
from pipelines.alignment.align import align
from pipelines.cli.main import app
from pipelines.config.load import load_recipe
from pipelines.runs.finished.audit import audit
from pipelines.runs.summary import find_summary
from tests.e2e.conftest import TINY
from tests.examples.cells import EXAMPLE, run_cells
from tests.quiet_reporter import QuietReporter

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600)]
# No challenger passes a gate that asks for more labels than there are prompts.
CHANGES = [
    "cycles=3", "decide.patience=1", "decide.gate.min_n=1000000", "publish.enabled=false", "generate.actors=1",
    "judge.regimen=RULES", "train.challengers.kto=null", "train.workers_per_run=1", "train.challengers.dpo.epochs=1",
]  # fmt: skip
WHY = "No cycle follows cycle 1: the champion stayed in the last cycle (decide.patience 1)."


def test_a_run_ends_when_its_patience_does(settings: list[str], tmp_path: Path) -> None:
    recipe, root = load_recipe(str(TINY), [*settings, *CHANGES]), tmp_path / "tiny"
    # The notebook of the examples makes the run.
    summary = run_cells(EXAMPLE, RECIPE=str(TINY), CHANGES=[*settings, *CHANGES], RUN=str(root))["summary"]
    (cycle,) = summary.cycles
    assert (cycle.decision, cycle.ended) == ("champion", WHY)
    assert find_summary(RunFolder(root).summary) == summary
    assert not RunFolder(root).cycle(2).exists()
    (made,) = audit(RunFolder(root))
    assert made.differences == [] and made.recorded.ended == WHY
    status = CliRunner().invoke(app, ["status", str(root)], env={"COLUMNS": "200"})
    assert status.exit_code == 0 and WHY in " ".join(status.output.split())
    # It stays over: more cycles than one were asked for all along.
    assert align(recipe, root, QuietReporter()) == summary
