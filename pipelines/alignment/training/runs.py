"""The training of an alignment: its Ray Train runs, resident or one per cycle, and the jobs of one cycle on them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import ray

from actors.contract.records import Assignment, ChallengerName, PolicyRef
from actors.coordinator.state import TrainingState, lacks_rows
from actors.errors import SalusError
from actors.files.full_disk import full_disk
from actors.training.config import TrainConfig
from actors.training.resident.loop import launch_training
from pipelines.alignment.run import COORDINATOR, Run
from pipelines.cluster.demand import policy_shape
from pipelines.cluster.footprint import weights_gib
from pipelines.cluster.times import Work, trainer_work
from pipelines.cluster.turns.division import TRAINER_SHARE, slept
from pipelines.config.recipe import Recipe

# How long a run has to end once its job is done. Seconds.
LEAVE_S = 120.0


class Training(Protocol):
    """The training of a run as its cycles use it: by Ray Train runs of its own, or by trainers that others use too."""

    def start(self) -> None:
        """Bring up what is resident, before the first rows are there."""

    def begin(self, jobs: Mapping[ChallengerName, Assignment]) -> None:
        """Have these jobs trained."""

    def watch(self, jobs: Mapping[ChallengerName, Assignment]) -> None:
        """See whether a trainer has ended without finishing its job; asked while jobs are trained."""

    def leave(self) -> None:
        """Return when the trainers of the cycle have given back what they held."""

    def close(self, timeout_s: float = 30.0) -> None:
        """End the run's training; what has not ended by itself in so many seconds is cancelled."""


class TrainingRuns:
    """Starts the runs and tells the coordinator when one of them ends without finishing its job.

    Life: `TrainingRuns(...)` -> [`start`] -> (`begin` -> `watch`*)* -> `close`

    `recipe` names the models by the folders that they are in here (`at_hand`), as a run may have its own copies.
    """

    def __init__(self, recipe: Recipe, coordinator: Any, namespace: str, session: str, storage: str) -> None:
        self._config = recipe.train
        # As the merged policies are stored at most.
        self._weights_gib = weights_gib(policy_shape(recipe), "float32")
        self._beside_engines = slept(recipe)
        self._waiting: list[tuple[ChallengerName, Assignment]] = []
        self._coordinator = coordinator
        self._namespace = namespace
        self._session = session
        self._storage = storage
        self._runs: dict[ChallengerName, ray.ObjectRef[None]] = {}
        self._launched = 0

    def start(self) -> None:
        """Bring resident runs up, so that their imports are done when the first rows are there."""
        if self._config.resident:
            for name in self._config.challengers:
                self._launch(name, first_index=0, only_index=None)

    def begin(self, jobs: Mapping[ChallengerName, Assignment]) -> None:
        """Per cycle: start a run for each job, or for the first. Resident runs find theirs; dead ones are replaced."""
        if not self._config.at_once:
            self._waiting = list(jobs.items())
            self._begin_next()
            return
        for name, job in jobs.items():
            if not self._config.resident:
                self._launch(name, first_index=job.index, only_index=job.index)
            elif self._is_down(name):
                self._launch(name, first_index=job.index, only_index=None)

    def _begin_next(self) -> None:
        """One after the other: start the next job's run once the one before has ended, its workers with it."""
        if self._waiting and not self._runs:
            name, job = self._waiting.pop(0)
            self._launch(name, first_index=job.index, only_index=job.index)

    def leave(self) -> None:
        """Return when every run of the cycle has ended and its workers have given back what they held.

        A job is done before its run is, which still has to report to Ray Train.
        """
        self._cancel(LEAVE_S)
        self._runs.clear()

    def _is_down(self, name: ChallengerName) -> bool:
        """Whether there is no run, or one that ended while it had nothing to do: no challenger has failed by that."""
        run = self._runs.get(name)
        return run is None or bool(ray.wait([run], timeout=0)[0])

    def watch(self, jobs: Mapping[ChallengerName, Assignment]) -> None:
        """Report a run that has ended with an error as its job's failure.

        Raises:
            FullDiskError: that was the error.
        """
        for name, job in jobs.items():
            run = self._runs.get(name)
            if run is None or not ray.wait([run], timeout=0)[0]:
                continue
            del self._runs[name]
            try:
                ray.get(run)
            except ray.exceptions.RayError as error:
                if (fault := full_disk(error)) is not None:
                    raise fault from error
                ray.get(self._coordinator.training_failed.remote(name, job.index, _sentence(error)))
        self._begin_next()

    def close(self, timeout_s: float = 30.0) -> None:
        """Let resident runs end by themselves, then cancel what is left."""
        try:
            ray.get(self._coordinator.stop_training.remote())
        finally:
            self._cancel(timeout_s)

    def _cancel(self, timeout_s: float) -> None:
        """End what has not ended by itself in so many seconds."""
        _, running = (
            ray.wait(list(self._runs.values()), num_returns=len(self._runs), timeout=timeout_s)
            if (self._runs)
            else ([], [])
        )
        for run in running:
            ray.cancel(run, force=True)

    def _settings(self, name: ChallengerName) -> TrainConfig:
        """One run's own settings; beside engines that sleep its workers count for a part of each GPU in Ray."""
        own = self._config.of(name)
        return own.model_copy(update={"gpus_per_worker": TRAINER_SHARE}) if self._beside_engines else own

    def _launch(self, name: ChallengerName, first_index: int, only_index: int | None) -> None:
        self._launched += 1
        self._runs[name] = launch_training(
            self._settings(name),
            name,
            COORDINATOR,
            self._namespace,
            # Each gets a new name: Ray Train would resume an ended run of the same one.
            f"{name}-{self._session}-{self._launched}",
            self._storage,
            first_index,
            only_index,
            self._weights_gib,
        )


class WatchedTraining:
    """Life: `WatchedTraining(run, runs, cycle)`, which hands the jobs out -> `look`* until `over` -> `close`."""

    def __init__(self, run: Run, runs: Training, cycle: int) -> None:
        self._run = run
        self._runs = runs
        self._cycle = cycle
        self._jobs: dict[ChallengerName, Assignment] = ray.get(run.coordinator.assign.remote(cycle))
        self._states: dict[ChallengerName, TrainingState] = {}
        known: dict[ChallengerName, TrainingState] = ray.get(run.coordinator.training_state.remote(cycle))
        begun = {name: job for name, job in self._jobs.items() if not lacks_rows(known[name].failure)}
        runs.begin(begun)
        self._bars = {n: run.reporter.bar(f"cycle {cycle}: training {n.upper()}", None, "steps") for n in begun}

    def look(self) -> None:
        """Bring bars and states up to date.

        Raises:
            SalusError: another process has taken the run folder over.
        """
        self._run.check_lease()
        self._runs.watch(self._jobs)
        self._states = ray.get(self._run.coordinator.training_state.remote(self._cycle))
        for name, bar in self._bars.items():
            bar.at(self._states[name].step, self._states[name].total)

    @property
    def over(self) -> bool:
        """Whether every job has ended, well or not."""
        return len(self._states) == len(self._jobs) and all(state.ended for state in self._states.values())

    @property
    def trained(self) -> tuple[PolicyRef, ...]:
        """The challengers whose training has come to its end."""
        done = (name for name, state in self._states.items() if state.report is not None)
        return tuple(self._run.folder.challenger(self._cycle, name) for name in done)

    def close(self) -> list[Work]:
        """Say which jobs failed; returns when the trainers worked.

        Raises:
            SalusError: all failed.
        """
        for bar in self._bars.values():
            bar.close()
        failures = [f"{name.upper()}: {s.failure}" for name, s in self._states.items() if s.failure is not None]
        for name, state in self._states.items():
            # Of rows that are not there it was told when they were made.
            if state.failure is not None and not lacks_rows(state.failure):
                self._run.reporter.say(f"cycle {self._cycle}: training failed, {name.upper()}: {state.failure}")
        if len(failures) == len(self._jobs):
            raise SalusError(f"No challenger of cycle {self._cycle} could be trained. {' '.join(failures)}")
        return trainer_work(state.report for state in self._states.values() if state.report is not None)


def _sentence(error: Exception) -> str:
    return str(getattr(error, "cause", None) or error).splitlines()[-1]
