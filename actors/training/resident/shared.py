"""The dispatcher of shared trainers on Ray: coordinators are found by their addresses, and runs are Ray Train's."""

from __future__ import annotations

from typing import Any, Literal

import ray
from ray.exceptions import RayActorError, RayError

from actors.contract.actor_address import ActorAddress, find_actor
from actors.contract.records import Assignment, ChallengerName, TrainReport
from actors.errors import reason
from actors.training.config import TrainConfig
from actors.training.resident.dispatcher import CoordinatorGoneError, TrainingDispatcher
from actors.training.resident.loop import launch_training


class CoordinatorJobs:
    """A coordinator actor as the source of its run's jobs (`JobSource`)."""

    def __init__(self, address: ActorAddress) -> None:
        """Raises CoordinatorGoneError where none is at the address."""
        try:
            self._coordinator: Any = find_actor(address)
        except ValueError as error:
            raise CoordinatorGoneError(str(error)) from error

    def assignment(self, name: ChallengerName, index: int) -> Assignment | Literal["stop"] | None:
        answer: Assignment | Literal["stop"] | None = self._asked("assignment", name, index)
        return answer

    def progress(self, name: ChallengerName, step: int, total: int) -> None:
        self._coordinator.training_progress.remote(name, step, total)

    def done(self, report: TrainReport) -> None:
        self._asked("training_done", report)

    def failed(self, name: ChallengerName, index: int, sentence: str) -> None:
        self._asked("training_failed", name, index, sentence)

    def halted(self, sentence: str) -> None:
        self._asked("training_halted", sentence)

    def _asked(self, method: str, *arguments: Any) -> Any:
        try:
            return ray.get(getattr(self._coordinator, method).remote(*arguments))
        except RayActorError as error:
            raise CoordinatorGoneError(str(error)) from error


class LaunchedRun:
    """A Ray Train run by the reference to its end (`ResidentRun`)."""

    def __init__(self, end: ray.ObjectRef[None]) -> None:
        self._end = end

    def fault(self) -> str | None:
        if not ray.wait([self._end], timeout=0)[0]:
            return None
        try:
            ray.get(self._end)
        except RayError as error:
            return reason(error)
        return "the training run ended before its job"

    def cancel(self) -> None:
        ray.cancel(self._end, force=True)


class RayTrainDispatcher(TrainingDispatcher):
    """A dispatcher whose trainers are resident Ray Train runs; `RemoteTrainingDispatcher` is its actor."""

    def __init__(
        self,
        address: ActorAddress,
        settings: dict[ChallengerName, TrainConfig],
        session: str,
        storage: str,
        weights_gib: float,
    ) -> None:
        """Nothing is started before a coordinator joins.

        Args:
            address: of this actor, as trainers find it.
            settings: of each challenger's run.
            session: part of the runs' names, which no other session may have.
            storage: a folder that all nodes see, or a URI; Ray Train's state is there.
            weights_gib: of the largest policy, as it is stored.
        """
        super().__init__(settings, self._launched, CoordinatorJobs)
        self._address, self._settings = address, settings
        self._session, self._storage, self._weights_gib = session, storage, weights_gib
        self._count = 0

    def _launched(self, name: ChallengerName) -> LaunchedRun:
        self._count += 1
        return LaunchedRun(
            launch_training(
                self._settings[name],
                name,
                self._address.actor,
                self._address.namespace,
                # Ray Train would resume an ended run of the same name.
                f"{name}-{self._session}-{self._count}",
                self._storage,
                first_index=0,
                weights_gib=self._weights_gib,
            )
        )
