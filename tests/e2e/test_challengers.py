"""A whole run in which challengers of four algorithms compete for the champion's place."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from actors.contract.run_folder import RunFolder
from actors.contract.run_names import read_report
from actors.training.adapter import ADAPTER_WEIGHTS
from actors.training.algorithms.table import ALGORITHMS
from pipelines.alignment.align import align
from pipelines.cli.main import app
from pipelines.config.load import load_recipe
from pipelines.decision.paired import holm
from pipelines.report.timeline.read import read_timeline
from pipelines.runs.checksums import check_sums
from pipelines.runs.finished.audit import audit
from pipelines.runs.finished.manifest import read_manifest
from tests.e2e.conftest import TINY
from tests.quiet_reporter import QuietReporter

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]
NAMES = ("kto", "dpo", "orpo", "simpo-slow")
CHANGES = [
    "cycles=1", "publish.enabled=false", "generate.actors=1", "judge.regimen=RULES", "train.workers_per_run=1",
    "train.challengers.orpo={learning_rate: 5.0e-3, batch_size: 4}",
    "train.challengers.simpo-slow={algorithm: simpo, learning_rate: 1.0e-3, batch_size: 4, likelihood_weight: 0.2}",
]  # fmt: skip


def test_four_challengers_compete_and_every_record_names_each(settings: list[str], tmp_path: Path) -> None:
    recipe, folder = load_recipe(str(TINY), [*settings, *CHANGES]), RunFolder(tmp_path / "tiny")
    assert len(set(recipe.train.algorithms.values())) == len(NAMES) <= len(ALGORITHMS)
    summary = align(recipe, folder.root, QuietReporter())

    # Those that learn from pairs share them; each has an adapter of its own.
    assert sorted(path.name for path in (folder.cycle(1) / "rows").iterdir()) == ["dpo", "kto"]
    adapters = {(folder.training(1, name) / "adapter" / ADAPTER_WEIGHTS).read_bytes() for name in NAMES}
    assert len(adapters) == len(NAMES)
    for name in NAMES:
        report = read_report(folder, 1, name)
        assert report is not None and (report.name, report.algorithm) == (name, recipe.train.algorithms[name])
        assert report.metrics["loss_last"] < report.metrics["loss_first"] and report.adapter_change > 0

    (made,) = audit(folder)
    assert made.differences == []
    found = made.recorded.challengers
    assert {result.name for result in found} == set(NAMES) and all(result.metrics is not None for result in found)
    compared = [result.comparison for result in found if result.comparison is not None]
    assert [each.p_better_holm for each in compared] == holm([each.p_better for each in compared])
    # The tiny policy obeys harmful requests; one challenger at least learns to refuse them.
    assert made.recorded.chosen in NAMES

    (cycle,) = summary.cycles
    assert set(cycle.challengers) == set(NAMES) and cycle.champion == f"c1-{cycle.decision}"
    rows = pq.read_table(folder.metrics, columns=["algorithm", "split"]).to_pylist()
    assert {row["algorithm"] for row in rows if row["split"] == "validation"} == {"base", "champion", *NAMES}
    assert {lane.title for lane in read_timeline(folder).lanes} >= {f"trainer {name}" for name in NAMES}
    assert check_sums(folder).intact
    manifest = read_manifest(folder)
    assert manifest is not None
    artefacts = {artefact.path: artefact for artefact in manifest.artefacts}
    for name in NAMES:
        assert f"train.challengers.{name}" in artefacts[f"cycles/01/{name}/adapter"].settings
    assert not [name for name, of in artefacts.items() if of.kind == "other" and name.startswith("cycles/")]
    shown = CliRunner().invoke(app, ["runs", "show", str(folder.root)], env={"COLUMNS": "200"})
    assert shown.exit_code == 0 and all(name.upper() in shown.output for name in NAMES)
