"""The fine-tuning of the deployed policy on demonstrations, on Ray Train: one run of one job, before the cycles."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

from actors.contract.records import Assignment, PolicyRef, Record, TrainReport
from actors.contract.run_folder import SFT, SFT_CYCLE, RunFolder
from actors.contract.seeds import derive_seed
from actors.engine.model_files import weights_gib
from actors.errors import SalusError
from actors.files.atomic import make_folder
from actors.training.alone.run import run_alone, train_alone
from actors.training.config import SftTrainConfig
from actors.training.made_from import finished_training
from actors.training.progress import ProgressFile, Tell
from actors.training.ray_train import TrainRun


class SftOrder(Record):
    """What one Ray Train run is told."""

    config: SftTrainConfig
    assignment: Assignment
    # Where checkpoints of the training in the making are.
    checkpoints: str

    @property
    def progress(self) -> ProgressFile:
        return ProgressFile(Path(self.assignment.output) / ".progress.json")


def sft_assignment(folder: RunFolder, base: PolicyRef, seed: int) -> Assignment:
    """The job: from the deployed policy, on the run's demonstrations, into the folder of cycle 0."""
    made = folder.fine_tuned()
    return Assignment(
        index=0,
        cycle=SFT_CYCLE,
        algorithm=SFT,
        champion=base,
        reference=base,
        rows=str(folder.rows(SFT_CYCLE, "demonstrations")),
        output=str(folder.training(SFT_CYCLE, SFT)),
        version=made.version,
        seed=derive_seed(seed, "train", SFT_CYCLE, SFT),
        run=str(folder.root),
    )


def sft_loop(loop_config: dict[str, Any]) -> None:
    """The function each Ray Train worker runs; `loop_config` is an `SftOrder` as a dict."""
    from actors.training.challenger import TrainingRun

    order = SftOrder.model_validate(loop_config)
    config, checkpoints = order.config.as_training(), Path(order.checkpoints)
    train_alone(
        order.progress,
        config.threads_per_worker,
        lambda on_step: TrainingRun(config, order.assignment, on_step, checkpoints).report(),
    )


def finished_sft(config: SftTrainConfig, folder: RunFolder, base: PolicyRef, seed: int) -> TrainReport | None:
    """The report of this very fine-tuning; None where it is not done yet."""
    return finished_training(config.as_training(), sft_assignment(folder, base, seed))


def run_sft(config: SftTrainConfig, folder: RunFolder, base: PolicyRef, seed: int, on_step: Tell) -> TrainReport:
    """Fine-tune the deployed policy on Ray Train, and wait for it; every node must see the run's folder.

    A training that was cut short goes on from its last checkpoint, where the settings ask for some.

    Args:
        config: of the training.
        folder: of the run; its demonstrations must be written.
        base: the deployed policy.
        seed: of the run.
        on_step: called with the optimizer steps done and in all.

    Raises:
        SalusError: the policy cannot be trained on these rows, or the run failed.
    """
    own = SftTrainConfig.model_validate(config.model_dump(include=set(SftTrainConfig.model_fields)))
    assignment = sft_assignment(folder, base, seed)
    order = SftOrder(
        config=own,
        assignment=assignment,
        checkpoints=str(folder.train_storage / "checkpoints"),
    )
    run = TrainRun(
        title="supervised fine-tuning",
        # A name of its own: Ray Train would resume an ended run of the same name.
        name=f"sft-{uuid.uuid4().hex[:8]}",
        storage_path=str(folder.train_storage),
        workers=own,
        weights_gib=weights_gib(Path(base.path)),
    )
    make_folder(Path(assignment.output))
    run_alone(sft_loop, order.model_dump(mode="json"), run, order.progress, on_step)
    report = finished_sft(own, folder, base, seed)
    if report is None:
        raise SalusError(
            f"The {run.title} {run.name} ended without a policy in {assignment.output}; let every node of the"
            " cluster see that folder, and run it again."
        )
    return report
