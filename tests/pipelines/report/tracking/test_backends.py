"""Each tracker's own client, on its own local store: figures, settings, sentences, and the same run resumed."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from actors.contract.run_folder import RunFolder
from pipelines.config.recipe import TrackerName
from pipelines.report.tracking.feed import read_feed
from pipelines.report.tracking.follow import tell
from pipelines.report.tracking.port import TRACKERS, TrackedRun, open_tracker
from pipelines.runs.finished.shape import recipe_of_run
from tests.clients import client
from tests.pipelines.report.tracking.curves import put_curve

LOSSES = [(step, 1 / step) for step in range(1, 7)]


def told_twice(name: TrackerName, run: RunFolder) -> str:
    """A run whose first session ended after four steps; returns the tracker's id of it, the same in both."""
    client(TRACKERS[name].package)
    recipe = recipe_of_run(run)
    steps: dict[str, int] = {}
    sums: dict[str, str] = {}
    known = None
    for ending, count in (("failed", 4), ("finished", 6)):
        put_curve(run, 1, "kto", count)
        tracker = open_tracker(name, TrackedRun("demo", run.root.name, run.root, known))
        tell(tracker, steps, sums, read_feed(run, recipe))
        tracker.close(ending)  # type: ignore[arg-type]
        assert known in (None, tracker.run_id)
        known = tracker.run_id
    assert known is not None
    return known


@pytest.mark.extra
@pytest.mark.parametrize("store", ["sqlite:///{}/mlflow.db", "file://{}/mlruns"])
def test_mlflow(run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: str) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.format(tmp_path))
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", store.format(tmp_path))
    # MLflow refuses its file store without it.
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.chdir(tmp_path)
    run_id = told_twice("mlflow", run)
    from mlflow import MlflowClient

    client = MlflowClient()
    found = client.get_run(run_id)
    assert (found.info.status, found.info.run_name) == ("FINISHED", "demo-s7")
    assert client.get_experiment_by_name("demo").experiment_id == found.info.experiment_id
    assert [(m.step, m.value) for m in client.get_metric_history(run_id, "train/kto/loss")] == LOSSES
    assert found.data.params["train.lora.rank"] == "16"
    assert found.data.metrics["decision/published"] == 1.0
    assert found.data.tags["decision/02"].startswith("Cycle 2: dpo replaces")
    assert {each.path for each in client.list_artifacts(run_id, "cycles/01")} >= {"cycles/01/decision.json"}
    champion = client.get_model_version_by_alias("demo", "champion")
    assert (champion.tags["salus.policy"], champion.run_id) == ("c2-dpo", run_id)
    kept = {each.path for each in client.list_artifacts(run_id, "policies/c2-dpo")}
    assert kept == {"policies/c2-dpo/policy.json", "policies/c2-dpo/adapter"}
    # One version for each winner, told twice or not.
    assert len(client.search_model_versions("name = 'demo'")) == 2
    with pytest.raises(Exception, match="challenger"):
        client.get_model_version_by_alias("demo", "challenger")


def test_tensorboard(run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TENSORBOARD_LOGGING_DIR", raising=False)
    run_id = told_twice("tensorboard", run)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run.root.parent / "tensorboard" / run_id), size_guidance={"tensors": 0})
    events.Reload()
    found = events.Scalars("train/kto/loss")
    assert [each.step for each in found] == [step for step, _ in LOSSES]
    assert [each.value for each in found] == pytest.approx([loss for _, loss in LOSSES])
    assert {"cycle", "decision/02/text_summary", "settings/text_summary"} <= {"cycle", *events.Tags()["tensors"]}
    assert "validation/champion/ss" in events.Tags()["scalars"]


@pytest.mark.extra
def test_trackio(run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client("trackio")
    import trackio.sqlite_storage as storage
    import trackio.utils as utils

    for module in (storage, utils):
        monkeypatch.setattr(module, "TRACKIO_DIR", tmp_path / "trackio")
    run_id = told_twice("trackio", run)
    assert storage.SQLiteStorage.get_runs("demo") == [run_id]
    rows = storage.SQLiteStorage.get_metric_values("demo", run_id, "train/kto/loss")
    assert [(row["step"], row["value"]) for row in rows] == LOSSES


@pytest.mark.extra
def test_wandb_offline(run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    run_id = told_twice("wandb", run)
    files = sorted((tmp_path / "wandb").glob(f"offline-run-*/run-{run_id}.wandb"))
    assert len(files) == 2
    rows = [row for file in files for row in history(file)]
    assert [(int(r["train/kto/step"]), float(r["train/kto/loss"])) for r in rows if "train/kto/loss" in r] == LOSSES


def history(file: Path) -> Iterator[dict[str, str]]:
    """The rows of an offline run's file, which is a LevelDB log of W&B's records."""
    from wandb.proto.wandb_internal_pb2 import Record

    content = file.read_bytes()
    at, record = 7, b""
    while at + 7 <= len(content):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        _, length, kind = struct.unpack("<IHB", content[at : at + 7])
        record += content[at + 7 : at + 7 + length]
        at += 7 + length
        # Whole, or the last of several pieces.
        if kind in (1, 4):
            found: Any = Record()
            found.ParseFromString(record)
            record = b""
            if found.HasField("history"):
                yield {item.key or "/".join(item.nested_key): item.value_json for item in found.history.item}
