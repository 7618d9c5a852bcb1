"""`salus runs gc`: what goes, what stays, and that what is left still verifies."""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from actors.contract.run_folder import RunFolder
from actors.errors import SalusError
from pipelines.cli.main import app
from pipelines.runs.checksums import check_sums, run_hash
from pipelines.runs.finished.busy import FRESH_S, why_busy
from pipelines.runs.finished.gc import Waste, collect, gc_plan, gc_plans, may_miss, read_gc_record
from pipelines.runs.finished.manifest import check_manifest, read_manifest, seal_run
from pipelines.runs.lease.files import LeaseFiles, LeaseRecord
from pipelines.runs.lease.lease import hold
from pipelines.runs.lease.process import this_process
from tests.pipelines.cli.refused import refused
from tests.pipelines.runs.finished.made import LOST, WON, RunMaker, lines, publish, put, recipe


def planned(folder: RunFolder, keep: frozenset[Waste] = frozenset()) -> dict[str, Waste]:
    return {item.path.relative_to(folder.root).as_posix(): item.waste for item in gc_plan(folder, keep).items}


def test_what_is_not_needed_goes_and_the_rest_verifies(tmp_path: Path, made_run: RunMaker) -> None:
    folder = made_run(tmp_path / "run")
    put(folder.rollouts(1) / ".part-00001.parquet.123.tmp", b"half")
    put(folder.models / ".policy.123.tmp" / "model.safetensors", b"half")
    put(folder.cycle(1) / "kto" / ".work" / "rows.arrow", b"half")
    before = run_hash(folder)
    assert planned(folder) == {
        LOST: "weights",
        "ray_train": "ray_train",
        "cycles/01/kto/.work": "partial",
        "cycles/01/rollouts/.part-00001.parquet.123.tmp": "partial",
        "models/.policy.123.tmp": "partial",
    }
    result = CliRunner().invoke(app, ["runs", "gc", str(folder.root), "--yes"])
    assert result.exit_code == 0
    assert not (folder.root / LOST).exists() and not folder.train_storage.exists()
    assert (folder.root / WON).is_dir() and (folder.cycle(1) / "dpo" / "adapter").is_dir()
    assert planned(folder) == {}
    assert run_hash(folder) == before
    verified = CliRunner().invoke(app, ["runs", "verify", str(folder.root)])
    assert verified.exit_code == 0
    assert "(2 of them removed since by salus runs gc)" in lines(verified.output)
    assert "Nothing to remove." in CliRunner().invoke(app, ["runs", "gc", str(folder.root)]).output


def test_it_asks_first_and_shows_what(tmp_path: Path, made_run: RunMaker) -> None:
    folder = made_run(tmp_path / "run")
    asked = CliRunner().invoke(app, ["runs", "gc", str(tmp_path)], input="n\n")
    assert asked.exit_code == 1
    assert LOST in asked.output and "ray_train" in asked.output and "in all." in asked.output
    assert (folder.root / LOST).is_dir() and not folder.collected.exists()
    assert CliRunner().invoke(app, ["runs", "gc", str(tmp_path)], input="y\n").exit_code == 0
    assert not (folder.root / LOST).exists()


def test_kinds_can_be_kept(tmp_path: Path, made_run: RunMaker) -> None:
    folder = made_run(tmp_path / "run")
    said = CliRunner().invoke(app, ["runs", "gc", str(tmp_path), "--keep", "weights", "--keep", "ray_train", "--yes"])
    assert "Nothing to remove." in said.output
    assert (folder.root / LOST).is_dir() and folder.train_storage.is_dir()
    assert CliRunner().invoke(app, ["runs", "gc", str(tmp_path), "--keep", "summary"]).exit_code == 2


def test_the_only_copy_of_weights_goes_only_where_it_is_asked_for(tmp_path: Path, made_run: RunMaker) -> None:
    folder = made_run(tmp_path / "run", adapters=False)
    CliRunner().invoke(app, ["runs", "gc", str(folder.root), "--yes"])
    assert (folder.root / LOST).is_dir()
    CliRunner().invoke(app, ["runs", "gc", str(folder.root), "--full-weights", "--yes"])
    assert not (folder.root / LOST).exists() and (folder.root / WON).is_dir()
    assert check_sums(folder, may_miss(folder)).intact


def test_what_is_live_stays(tmp_path: Path, made_run: RunMaker) -> None:
    folder = made_run(tmp_path / "run")
    publish(folder, "c1-dpo")
    assert LOST not in planned(folder)
    folder.publications.write_text("no log\n")
    with pytest.raises(SalusError, match="line 1 is not a publication"):
        gc_plan(folder)


def test_a_record_by_hand_excuses_nothing_else(
    tmp_path: Path, made_run: RunMaker, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = made_run(tmp_path / "run")
    collect(gc_plan(folder))
    record = json.loads(folder.collected.read_text())
    kept = dict(record["removed"][0])
    for lost in (WON, "cycles/01/judgments"):
        files = {p.relative_to(folder.root).as_posix(): p for p in (folder.root / lost).iterdir()}
        sums = {name: line.split()[0] for line in folder.sums.read_text().splitlines() for name in [line.split()[1]]}
        record["removed"].append(kept | {"path": lost, "sums": {name: sums[name] for name in files}})
        for path in files.values():
            path.unlink()
    folder.collected.write_text(json.dumps(record))
    said = refused(capsys, "runs", "verify", str(folder.root))
    assert f"missing: cycles/01/judgments/part-00000.parquet, {WON}/config.json, {WON}/model.safetensors" in said
    folder.collected.write_text("{")
    assert "is not a record of salus runs gc" in refused(capsys, "runs", "verify", str(folder.root))


def test_weights_that_came_back_changed_are_found(
    tmp_path: Path, made_run: RunMaker, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = made_run(tmp_path / "run")
    collect(gc_plan(folder))
    put(folder.root / LOST / "model.safetensors", b"others")
    assert f"changed: {LOST}/model.safetensors" in refused(capsys, "runs", "verify", str(folder.root))


def test_an_end_half_way_leaves_nothing_unexplained(tmp_path: Path, made_run: RunMaker) -> None:
    folder = made_run(tmp_path / "run")
    plan = gc_plan(folder)
    collect(plan)
    # As if it had been recorded, and only one of the two files removed.
    put(folder.root / LOST / "config.json", b"{}")
    checked = check_sums(folder, may_miss(folder))
    assert checked.intact and checked.removed == (f"{LOST}/model.safetensors",)
    collect(gc_plan(folder))
    assert not (folder.root / LOST).exists()
    assert check_sums(folder, may_miss(folder)).intact


def test_a_run_sealed_again_still_knows_what_its_evaluations_were_made_from(tmp_path: Path, made_run: RunMaker) -> None:
    folder = made_run(tmp_path / "run")
    first = read_manifest(folder)
    collect(gc_plan(folder))
    seal_run(recipe(), folder)
    assert check_sums(folder).intact
    check_manifest(folder)
    assert read_manifest(folder) == first


def test_a_run_that_goes_on_is_left_alone(
    tmp_path: Path, made_run: RunMaker, capsys: pytest.CaptureFixture[str]
) -> None:
    made_run(tmp_path / "done")
    unfinished = made_run(tmp_path / "begun")
    unfinished.sums.unlink()
    longer = made_run(tmp_path / "longer")
    longer.recipe.write_text(longer.recipe.read_text().replace("cycles: 1", "cycles: 2"))
    plans, left = gc_plans(tmp_path)
    assert [plan.folder.root.name for plan in plans] == ["done"]
    assert [sentence.split("/")[-1] for sentence in left] == [
        "begun is left alone: it is not finished.",
        "longer is left alone: it is not finished.",
    ]
    assert "is left alone: it is not finished." in refused(capsys, "runs", "gc", str(unfinished.root))


def test_a_run_that_a_process_holds_is_left_alone(
    tmp_path: Path, made_run: RunMaker, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = made_run(tmp_path / "run")
    plan = gc_plan(folder)
    with hold(folder.root, 60, print):
        assert "holds it; end that first" in refused(capsys, "runs", "gc", str(folder.root), "--yes")
        # Taken up between the plan and the removal.
        with pytest.raises(SalusError, match="holds it; end that first"):
            collect(plan)
        assert why_busy(folder, datetime.now(UTC) + timedelta(seconds=FRESH_S + 60)) is None
    assert (folder.root / LOST).is_dir() and read_gc_record(folder).removed == ()
    assert why_busy(folder) is None


def test_the_lease_of_a_dead_process_keeps_nothing(tmp_path: Path, made_run: RunMaker) -> None:
    folder = made_run(tmp_path / "run")
    with subprocess.Popen(["sleep", "60"]) as process:
        files, now = LeaseFiles(folder.root), datetime.now(UTC)
        there = this_process().model_copy(update={"pid": process.pid, "started_s": 0.0})
        lease = LeaseRecord(number=1, holder=there, taken_at=now, beat_at=now)
        assert files.add(lease)
        process.kill()
    assert why_busy(folder) is None
    collect(gc_plan(folder))
    assert not (folder.root / LOST).is_dir()


def test_links_lead_nowhere(tmp_path: Path, made_run: RunMaker) -> None:
    folder = made_run(tmp_path / "run")
    collect(gc_plan(folder))
    put(tmp_path / "precious" / "x", b"x")
    for name in (LOST, "ray_train", "cycles/01/.work", "cycles/01/.x.1.tmp"):
        (folder.root / name).symlink_to(tmp_path / "precious")
    assert planned(folder) == {}
