"""The training of a run that shares its trainers: they get its jobs through a dispatcher, as those of other runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ray
from ray.exceptions import RayActorError

from actors.contract.actor_address import ActorAddress, find_actor
from actors.contract.records import Assignment, ChallengerName
from actors.errors import SalusError
from pipelines.alignment.run import COORDINATOR
from pipelines.config.cluster import SharedTrainers


class SharedTrainingRuns:
    """Training by trainers of several runs; one that fails tells the coordinator by itself.

    Life: `SharedTrainingRuns(...)` -> `start` -> (`begin` -> `watch`*)* -> `close`
    """

    def __init__(self, shared: SharedTrainers, coordinator: Any, namespace: str) -> None:
        """`namespace` is that of the run, in which its coordinator has its name."""
        self._shared, self._coordinator = shared, coordinator
        self._own = ActorAddress(actor=COORDINATOR, namespace=namespace)

    def start(self) -> None:
        """Give the trainers this run's jobs from now on.

        Raises:
            SalusError: the dispatcher is not up.
        """
        self._asked("join", self._own)

    def begin(self, jobs: Mapping[ChallengerName, Assignment]) -> None:
        """Trainers find the jobs at the coordinator; those that have ended are started anew."""
        del jobs
        self._asked("join", self._own)

    def watch(self, jobs: Mapping[ChallengerName, Assignment]) -> None:
        """Have the jobs of trainers that have ended fail.

        Raises:
            SalusError: the dispatcher is not up any more.
        """
        del jobs
        self._asked("check")

    def leave(self) -> None:
        """Nothing: the trainers stay up for the other runs."""

    def close(self, timeout_s: float = 0.0) -> None:
        """Take this run's jobs from the trainers, which go on with those of others."""
        del timeout_s
        try:
            ray.get(self._coordinator.stop_training.remote())
        finally:
            self._asked("leave", self._own)

    def _asked(self, method: str, *arguments: Any) -> None:
        try:
            dispatcher = find_actor(ActorAddress(actor=self._shared.actor, namespace=self._shared.namespace))
            ray.get(getattr(dispatcher, method).remote(*arguments))
        except (ValueError, RayActorError) as error:
            raise SalusError(
                f"The trainers {self._shared.actor} that this run shares with others are not up. Give the same command"
                " again, or set cluster.shared_trainers to null for trainers of its own."
            ) from error
