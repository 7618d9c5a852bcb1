"""The Ray Train side of a judge's fine-tuning: one run, its progress told through a file in the judge's folder."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path
from typing import Any

from actors.contract.records import JudgeAssignment, JudgeTraining, Record
from actors.engine.model_files import weights_gib
from actors.errors import SalusError
from actors.training.alone.run import run_alone, train_alone
from actors.training.config import JudgeTrainConfig
from actors.training.made_from import finished_judge
from actors.training.progress import ProgressFile, Tell
from actors.training.ray_train import TrainRun


class JudgeOrder(Record):
    """What one Ray Train run is told."""

    config: JudgeTrainConfig
    assignment: JudgeAssignment

    @property
    def progress(self) -> ProgressFile:
        return ProgressFile(Path(self.assignment.output) / ".progress.json")


def judge_loop(loop_config: dict[str, Any]) -> None:
    """The function each Ray Train worker runs; `loop_config` is a `JudgeOrder` as a dict."""
    from actors.training.alone.judge import JudgeTrainingRun

    order = JudgeOrder.model_validate(loop_config)
    train_alone(
        order.progress,
        order.config.threads_per_worker,
        lambda on_step: JudgeTrainingRun(order.config, order.assignment, on_step).report(),
    )


def run_judge_training(config: JudgeTrainConfig, assignment: JudgeAssignment, on_step: Tell) -> JudgeTraining:
    """Train a judge on Ray Train, and wait for it; Ray must be up, and every node must see the output's folder.

    Raises:
        SalusError: the assignment cannot be trained, or the run failed.
    """
    order = JudgeOrder(config=config, assignment=assignment)
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
    run_alone(judge_loop, order.model_dump(mode="json"), run, order.progress, on_step)
    shutil.rmtree(storage, ignore_errors=True)
    done = finished_judge(config, assignment)
    if done is None:
        raise SalusError(
            f"The {run.title} {run.name} ended without a judge in {output}; let every node of the cluster see that"
            " folder, and run it again."
        )
    return done
