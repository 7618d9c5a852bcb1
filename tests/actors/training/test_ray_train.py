"""What a fault in a Ray Train run becomes: one sentence, the worker's own where it gave one."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest
import ray
import torch
from ray.train import ControllerError, TrainingFailedError, WorkerGroupError

from actors.engine.faults import device
from actors.errors import SalusError
from actors.files.full_disk import FullDiskError
from actors.training.config import Workers
from actors.training.ray_train import TIMEOUT_S, TrainRun, check_worker, launch, run_fault, torch_config
from pipelines.cluster.session import embedded_ray
from pipelines.config.cluster import ClusterConfig

FULL = OSError(errno.ENOSPC, "No space left on device", "/runs/a/checkpoint")
OWN = "The KTO training diverged; lower its learning rate."


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (WorkerGroupError("two pages", {1: ValueError("late"), 0: SalusError(OWN)}), OWN),
        (
            WorkerGroupError("two pages", {0: ValueError("no actor\n  named nobody")}),
            "The KTO training run kto-1 ended with ValueError: no actor named nobody",
        ),
        (
            ControllerError(RuntimeError("no room for two workers")),
            "The KTO training run kto-1 ended with RuntimeError: no room for two workers",
        ),
    ],
)
def test_the_first_workers_fault_is_one_line(tmp_path: Path, error: TrainingFailedError, sentence: str) -> None:
    run = TrainRun(title="KTO training run", name="kto-1", storage_path=str(tmp_path), workers=Workers())
    assert run_fault(run, error).sentence == sentence


@pytest.mark.parametrize(
    "error",
    [WorkerGroupError("two pages", {0: ValueError("gloo: connection closed"), 1: FULL}), ControllerError(FULL)],
)
def test_any_workers_full_disk_is_what_it_was(tmp_path: Path, error: TrainingFailedError) -> None:
    run = TrainRun(title="KTO training run", name="kto-1", storage_path=str(tmp_path), workers=Workers())
    fault = run_fault(run, error)
    assert isinstance(fault, FullDiskError)
    assert fault.sentence.startswith("The disk of /runs/a is full")


def run_of(folder: Path, weights_gib: float = 0.0, **workers: Any) -> TrainRun:
    return TrainRun(
        title="KTO training run",
        name="kto-1",
        storage_path=str(folder),
        workers=Workers(workers_per_run=1, max_failures=0, **workers),
        weights_gib=weights_gib,
    )


def test_workers_wait_for_each_other_the_longer_the_larger_the_model_is(tmp_path: Path) -> None:
    tiny, large = run_of(tmp_path, 0.02), run_of(tmp_path, 140.0)
    assert TIMEOUT_S <= torch_config(tiny).timeout_s <= TIMEOUT_S + 2
    assert torch_config(large).timeout_s > TIMEOUT_S + 2 * 3600
    assert torch_config(run_of(tmp_path, 140.0, collective_timeout_s=700)).timeout_s == 700


def test_a_worker_without_its_gpus_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    check_worker(Workers(gpus_per_worker=0.5))
    check_worker(Workers())
    with pytest.raises(SalusError, match=r"A training worker needs 2 GPU.*torch sees 1"):
        check_worker(Workers(gpus_per_worker=2))
    # What a driver that is too old for torch looks like.
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device.visible_gpus() == 1
    with pytest.raises(SalusError, match=r"A training worker needs 1 GPU.*torch sees 0"):
        check_worker(Workers(gpus_per_worker=1))


def never(loop_config: dict[str, Any]) -> None:
    raise AssertionError("the loop has begun")


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.skipif(torch.version.cuda is not None, reason="a CUDA build of torch")
def test_a_gpu_that_torch_does_not_see_is_a_sentence_before_the_workers_meet(own_ray: None, tmp_path: Path) -> None:
    said = r"A training worker is to run on a GPU, but torch on .* is a build for CPUs"
    with embedded_ray(ClusterConfig(logical_cpus=2, gpus=1), "no-gpu", 2), pytest.raises(SalusError, match=said):
        ray.get(launch(never, {}, run_of(tmp_path, gpus_per_worker=1)), timeout=200)
