"""The Ray Train side of a judge's fine-tuning: one run, its progress told through a file in the judge's folder."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path
from typing import Any

import ray

from actors.contract.records import JudgeAssignment, JudgeTraining, Record
from actors.engine.model_files import weights_gib
from actors.errors import SalusError
from actors.training.config import JudgeTrainConfig
from actors.training.made_from import finished_judge
from actors.training.progress import PROGRESS_S, ProgressFile, Tell, throttled
from actors.training.ranks import rank
from actors.training.ray_train import TrainRun, launch


class JudgeOrder(Record):
    """What one Ray Train run is told."""

    config: JudgeTrainConfig
    assignment: JudgeAssignment

    @property
    def progress(self) -> ProgressFile:
        return ProgressFile(Path(self.assignment.output) / ".progress.json")


def judge_loop(loop_config: dict[str, Any]) -> None:
    """The function each Ray Train worker runs; `loop_config` is a `JudgeOrder` as a dict.

    A fault of the input is told and the run ends: another try, which Ray Train would make, would end alike.
    """
    import torch

    from actors.training.judge import JudgeTrainingRun

    order = JudgeOrder.model_validate(loop_config)
    torch.set_num_threads(order.config.threads_per_worker)
    leads = rank() == 0
    try:
        JudgeTrainingRun(order.config, order.assignment, throttled(order.progress.tell) if leads else None).report()
    except SalusError as error:
        if leads:
            order.progress.fail(error.sentence)


def run_judge_training(config: JudgeTrainConfig, assignment: JudgeAssignment, on_step: Tell) -> JudgeTraining:
    """Train a judge on Ray Train, and wait for it; Ray must be up, and every node must see the output's folder.

    Raises:
        SalusError: the assignment cannot be trained, or the run failed.
    """
    order = JudgeOrder(config=config, assignment=assignment)
    order.progress.remove()
    output = Path(assignment.output)
    storage = output / ".ray_train"
    run = TrainRun(
        title="judge's training run",
        # A name of its own: Ray Train would resume an ended run of the same name.
        name=f"judge-{uuid.uuid4().hex[:8]}",
        storage_path=str(storage),
        workers=config,
        weights_gib=weights_gib(Path(assignment.base.path)),
    )
    _wait(launch(judge_loop, order.model_dump(mode="json"), run), order.progress, on_step)
    fault = order.progress.read().fault
    order.progress.remove()
    shutil.rmtree(storage, ignore_errors=True)
    if fault is not None:
        raise SalusError(fault)
    done = finished_judge(config, assignment)
    if done is None:
        raise SalusError(
            f"The {run.title} {run.name} ended without a judge in {output}; let every node of the cluster see that"
            " folder, and run it again."
        )
    return done


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
