"""What a fault in a Ray Train run becomes: one sentence, the worker's own where it gave one."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from ray.train import ControllerError, TrainingFailedError, WorkerGroupError

from actors.errors import SalusError
from actors.files.full_disk import FullDiskError
from actors.training.config import Workers
from actors.training.ray_train import TrainRun, run_fault

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
