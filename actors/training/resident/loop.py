"""The Ray Train side of training: resident or per-cycle runs that ask the coordinator for their assignments.

launch_training -> Ray task -> TorchTrainer.fit -> workers: resident_loop
waiting --assignment--> training --done | failed--> waiting ... --"stop"--> ended
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, Protocol

import ray

from actors.contract.records import Assignment, ChallengerName, Record, TrainReport
from actors.errors import SalusError
from actors.files.full_disk import FullDiskError
from actors.training.config import TrainConfig
from actors.training.progress import Tell, throttled
from actors.training.ranks import from_rank_zero, rank
from actors.training.ray_train import TrainRun, launch

POLL_S = 0.2
# The other ranks wait for rank 0 in a collective, which must end before torch gives it up (`TrainRun.timeout_s`).
ROUND_S = 300.0
# One assignment trained; told after each optimizer step where it is to tell.
Train = Callable[[Assignment, Tell | None], TrainReport]


class LoopOrder(Record):
    """What one Ray Train run is told: whom to ask, for which challenger, from which assignment on."""

    config: TrainConfig
    challenger: ChallengerName
    coordinator_name: str
    namespace: str
    first_index: int
    # Per-cycle mode: this one assignment, then end.
    only_index: int | None = None
    # Where checkpoints of assignments in the making are, if the config asks for any.
    checkpoints: str | None = None


class CoordinatorPort(Protocol):
    """The coordinator as a training loop sees it."""

    def assignment(self, index: int) -> Assignment | Literal["stop"] | None:
        """The assignment of this number; None while there is none yet."""

    def progress(self, step: int, total: int) -> None:
        """Told now and then (`throttled`), and at the last step."""

    def done(self, report: TrainReport) -> None:
        """Told once per finished assignment."""

    def failed(self, index: int, sentence: str) -> None:
        """Told once per assignment that cannot be trained; the loop goes on."""

    def halted(self, sentence: str) -> None:
        """Told by any rank that cannot go on for no fault of its assignment; the run ends."""


class CoordinatorClient:
    """The coordinator actor, asked by its name."""

    def __init__(self, order: LoopOrder) -> None:
        self.challenger = order.challenger
        self.coordinator: Any = ray.get_actor(order.coordinator_name, namespace=order.namespace)

    def assignment(self, index: int) -> Assignment | Literal["stop"] | None:
        answer: Assignment | Literal["stop"] | None = ray.get(
            self.coordinator.assignment.remote(self.challenger, index)
        )
        return answer

    def progress(self, step: int, total: int) -> None:
        self.coordinator.training_progress.remote(self.challenger, step, total)

    def done(self, report: TrainReport) -> None:
        ray.get(self.coordinator.training_done.remote(report))

    def failed(self, index: int, sentence: str) -> None:
        ray.get(self.coordinator.training_failed.remote(self.challenger, index, sentence))

    def halted(self, sentence: str) -> None:
        ray.get(self.coordinator.training_halted.remote(sentence))


def run_assignments(
    train: Train,
    coordinator: CoordinatorPort,
    order: LoopOrder,
    save: Callable[[int, TrainReport | None], None],
) -> int:
    """Train one assignment after the other until told to stop; return how many were trained.

    Runs on every rank; rank 0 alone speaks with the coordinator. After each assignment every rank calls
    `save(index, report)`, with None for one that failed. A SalusError ends its assignment alone: `TrainingRun`
    raises it on all ranks or none, so that they are still in step. A full disk, found by one rank perhaps, ends the
    run: the others, which may wait for that one, end with it.

    Raises:
        FullDiskError: the coordinator is told.
    """
    index = order.first_index if order.only_index is None else order.only_index
    trained = 0
    leads = rank() == 0
    while (assignment := _next(coordinator, index)) is not None:
        report: TrainReport | None = None
        try:
            report = train(assignment, throttled(coordinator.progress) if leads else None)
        except FullDiskError as error:
            coordinator.halted(error.sentence)
            raise
        except SalusError as error:
            if leads:
                coordinator.failed(index, error.sentence)
        else:
            trained += 1
            if leads:
                coordinator.done(report)
        save(index, report)
        if order.only_index is not None:
            break
        index += 1
    return trained


def _next(coordinator: CoordinatorPort, index: int) -> Assignment | None:
    """The next assignment, waited for; None where there will be no more. Rank 0 asks, for all ranks."""
    answer: Assignment | Literal["stop"] | None = None
    while answer is None:
        answer = from_rank_zero(_ask(coordinator, index) if rank() == 0 else None)
    return None if answer == "stop" else answer


def _ask(coordinator: CoordinatorPort, index: int) -> Assignment | Literal["stop"] | None:
    """The coordinator's answer; None where it had none within `ROUND_S`."""
    until_s = time.monotonic() + ROUND_S
    while (answer := coordinator.assignment(index)) is None and time.monotonic() < until_s:
        time.sleep(POLL_S)
    return answer


def resident_loop(loop_config: dict[str, Any]) -> None:
    """The function each Ray Train worker runs; `loop_config` is a `LoopOrder` as a dict."""
    import torch

    # Imported before the first assignment is there, while the champion is still generating.
    from actors.training.challenger import TrainingRun

    order = LoopOrder.model_validate(loop_config)
    torch.set_num_threads(order.config.threads_per_worker)
    checkpoints = Path(order.checkpoints) if order.checkpoints is not None else None
    run_assignments(
        lambda assignment, on_step: TrainingRun(order.config, assignment, on_step, checkpoints).report(),
        CoordinatorClient(order),
        order,
        _report_to_ray,
    )


def _report_to_ray(index: int, report: TrainReport | None) -> None:
    """Every rank reports; rank 0 hands Ray Train the adapter (a whole policy would be too large to copy)."""
    import ray.train

    if report is None:
        ray.train.report({"index": index, "failed": True})
        return
    checkpoint = None
    if rank() == 0 and Path(report.adapter).name == "adapter":
        checkpoint = ray.train.Checkpoint.from_directory(report.adapter)
    ray.train.report({"index": index, "failed": False, **report.metrics}, checkpoint=checkpoint)


def launch_training(
    config: TrainConfig,
    challenger: ChallengerName,
    coordinator_name: str,
    namespace: str,
    run_name: str,
    storage_path: str,
    first_index: int,
    only_index: int | None = None,
    weights_gib: float = 0.0,
) -> ray.ObjectRef[None]:
    """Start one Ray Train run and return at once; those of several challengers run side by side.

    The run asks the coordinator for assignments from `first_index` on until it says "stop". With `only_index` it
    trains that one and ends. Its Ray Train run is named for it, as Ray resumes a run of the same name.
    A run restarted after a lost worker begins at `first_index` again: finished assignments come back from disk at
    once and are told again. `ray.get` of the result waits for the end of the run and raises SalusError where the run,
    not an assignment, failed. `storage_path` is a folder all nodes see, or a URI. The larger the policy's weights, the
    longer workers wait for each other (`TrainRun.timeout_s`).

    Raises:
        SalusError: checkpoints are asked for, which cannot be kept at a URI.
    """
    order = LoopOrder(
        config=config,
        challenger=challenger,
        coordinator_name=coordinator_name,
        namespace=namespace,
        first_index=first_index,
        only_index=only_index,
        checkpoints=_checkpoints(config, storage_path),
    )
    run = TrainRun(
        title=f"{challenger.upper()} training run",
        name=run_name if only_index is None else f"{run_name}-{only_index}",
        storage_path=storage_path,
        workers=config,
        weights_gib=weights_gib,
    )
    return launch(resident_loop, order.model_dump(mode="json"), run)


def _checkpoints(config: TrainConfig, storage_path: str) -> str | None:
    if config.checkpoint_every_steps is None:
        return None
    if "://" in storage_path:
        raise SalusError(
            f"Checkpoints of a training cannot be kept at {storage_path}; leave train.checkpoint_every_steps out, or"
            " keep Ray Train's storage in a folder that all nodes see."
        )
    return str(Path(storage_path).absolute() / "checkpoints")
