"""A Ray Train run of one job, which asks no coordinator: its progress and its fault go through a file.

launched -> workers: `train_alone` --told, every half second--> file --read--> `run_alone`, which returns with its end
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ray

from actors.errors import SalusError
from actors.files.full_disk import FullDiskError
from actors.training.progress import PROGRESS_S, ProgressFile, Tell, throttled
from actors.training.ranks import rank
from actors.training.ray_train import Loop, TrainRun, launch


def train_alone(progress: ProgressFile, threads: int, train: Callable[[Tell | None], object]) -> None:
    """Train the job in one worker, with so many torch threads; `train` is told whom to tell of each step.

    A fault of the input is told and the run ends: another try, which Ray Train would make, would end alike.

    Raises:
        FullDiskError: on the rank that found the disk full, so that the others do not wait for it.
    """
    import torch

    torch.set_num_threads(threads)
    leads = rank() == 0
    try:
        train(throttled(progress.tell) if leads else None)
    except FullDiskError:
        raise
    except SalusError as error:
        if leads:
            progress.fail(error.sentence)


def run_alone(loop: Loop, order: dict[str, Any], run: TrainRun, progress: ProgressFile, on_step: Tell) -> None:
    """Start a run whose workers each call `loop(order)`, and wait for its end; Ray must be up.

    Raises:
        SalusError: the job cannot be trained, or the run failed.
    """
    progress.remove()
    _wait(launch(loop, order, run), progress, on_step)
    fault = progress.read().fault
    progress.remove()
    if fault is not None:
        raise SalusError(fault)


def _wait(task: ray.ObjectRef[None], progress: ProgressFile, on_step: Tell) -> None:
    """Return when the run has ended; where no caller waits any more (Ctrl-C), it ends too."""
    ended = False
    try:
        while not ended:
            ended = bool(ray.wait([task], timeout=PROGRESS_S)[0])
            told = progress.read()
            if told.total:
                on_step(told.step, told.total)
        ray.get(task)
    finally:
        if not ended:
            ray.cancel(task, force=True)
