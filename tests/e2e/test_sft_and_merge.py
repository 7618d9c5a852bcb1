"""A run that fine-tunes before its cycle and merges in it: one more policy before, one more contestant in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from actors.contract.run_folder import MERGE, RunFolder
from actors.contract.run_names import read_report
from actors.files.shards import read_folder
from actors.training.adapter import ADAPTER_WEIGHTS
from pipelines.alignment.align import align
from pipelines.cli.main import app
from pipelines.config.load import load_recipe
from pipelines.report.timeline.read import read_timeline
from pipelines.runs.checksums import check_sums
from pipelines.runs.finished.audit import audit
from pipelines.runs.finished.manifest import read_manifest
from tests.e2e.conftest import TINY
from tests.e2e.deployed import COMPLY, REFUSE, requests
from tests.quiet_reporter import QuietReporter

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]
CHANGES = [
    "cycles=1", "publish.enabled=false", "generate.actors=1", "judge.regimen=RULES", "train.workers_per_run=1",
    "data.probe=null", "data.probe_path=null", "data.published=0", "data.train_per_cycle=80",
    # Few steps, so that it still obeys some and the cycle has something to learn.
    "sft={learning_rate: 2.0e-3, epochs: 1, batch_size: 8, workers_per_run: 1, max_length_tokens: 64}",
    "merge={method: ties, density: 0.8}",
]  # fmt: skip


def test_a_fine_tuned_policy_is_the_first_champion_and_a_merged_one_competes(
    settings: list[str], tmp_path: Path
) -> None:
    chats = tmp_path / "chats.jsonl"
    texts = [text for text in requests(harm=False) if "child" in text]
    rows = [{"messages": [{"role": "user", "content": t}, {"role": "assistant", "content": COMPLY}]} for t in texts]
    chats.write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = load_recipe(str(TINY), [*settings, *CHANGES, f"sft.path={chats}"])
    folder = RunFolder(tmp_path / "tiny")
    summary = align(recipe, folder.root, QuietReporter())

    # Fine-tuned on the safe answers to train prompts, and on conversations that the run is not evaluated on.
    learnt = read_folder(folder.rows(0, "demonstrations"))
    assert set(learnt["completion"].to_pylist()) == {REFUSE, COMPLY}
    made = read_report(folder, 0, "sft")
    assert made is not None and made.rows == learnt.num_rows and made.adapter_change > 0
    assert summary.sft is not None and summary.sft.policy == "c0-sft" and summary.sft.demonstrations == made.rows
    assert summary.test.sft == summary.sft.after and summary.test.base == summary.sft.before
    # So few steps bring no refusal out yet: the loss alone tells that it learns.
    assert made.metrics["loss_last"] < made.metrics["loss_first"]

    # The cycle begins with it, and the deployed policy stays what is compared with.
    (cycle,) = summary.cycles
    assert cycle.incumbent == "c0-sft"
    columns = ["cycle", "algorithm", "policy_version", "split"]
    measured: set[tuple[Any, ...]] = {
        tuple(row.values()) for row in pq.read_table(folder.metrics, columns=columns).to_pylist()
    }
    assert {(0, "base", "c0-base", "validation"), (1, "champion", "c0-sft", "validation")} <= measured
    # The merged challenger was made of both and is a contestant as they are.
    assert set(cycle.challengers) == {"kto", "dpo", MERGE} and cycle.challengers[MERGE] is not None
    adapters = {(folder.training(1, name) / "adapter" / ADAPTER_WEIGHTS).read_bytes() for name in cycle.challengers}
    assert len(adapters) == 3
    (again,) = audit(folder)
    assert again.differences == [] and {each.name for each in again.recorded.challengers} == {"kto", "dpo", MERGE}

    timeline = read_timeline(folder)
    assert {"fine-tune", "merge"} <= {stage.time.stage for stage in timeline.stages}
    assert {lane.title for lane in timeline.lanes} >= {"trainer sft", f"trainer {MERGE}"}
    assert check_sums(folder).intact
    manifest = read_manifest(folder)
    assert manifest is not None
    artefacts = {artefact.path: artefact for artefact in manifest.artefacts}
    assert {"cycles/00/sft/merged", "cycles/00/figures.json", "cycles/01/merge/adapter"} <= artefacts.keys()
    assert [source.path for source in artefacts["cycles/00/sft/adapter"].made_from] == [
        "cycles/00/rows/sft", "model:policy",
    ]  # fmt: skip
    assert "cycles/01/kto/adapter" in {source.path for source in artefacts["cycles/01/merge/adapter"].made_from}
    assert not [name for name, of in artefacts.items() if of.kind == "other" and name.startswith("cycles/")]

    run = CliRunner()
    shown = run.invoke(app, ["runs", "show", str(folder.root)], env={"COLUMNS": "200"})
    assert shown.exit_code == 0 and "MERGE" in shown.output
    # Nothing is made twice.
    written = {path: path.stat().st_mtime_ns for path in folder.root.rglob("report.json")}
    assert align(recipe, folder.root, QuietReporter()) == summary
    assert {path: path.stat().st_mtime_ns for path in folder.root.rglob("report.json")} == written
