"""The training jobs of one cycle while they run: their bars, and who has come to the end."""

from __future__ import annotations

import ray

from actors.contract.records import Algorithm, PolicyRef
from actors.coordinator.state import TrainingState
from actors.errors import SalusError
from pipelines.alignment.run import Run
from pipelines.alignment.training import TrainingRuns
from pipelines.cluster.times import Work, trainer_work


class WatchedTraining:
    """Life: `WatchedTraining(run, runs, cycle)`, which hands the jobs out -> `look`* until `over` -> `close`."""

    def __init__(self, run: Run, runs: TrainingRuns, cycle: int) -> None:
        self._run = run
        self._runs = runs
        self._cycle = cycle
        algorithms = run.recipe.train.algorithms
        self._jobs = ray.get(run.coordinator.assign.remote(cycle, algorithms))
        runs.begin(self._jobs)
        self._bars = {a: run.reporter.bar(f"cycle {cycle}: training {a.upper()}", None, "steps") for a in algorithms}
        self._states: dict[Algorithm, TrainingState] = {}

    def look(self) -> None:
        """Bring bars and states up to date.

        Raises:
            SalusError: another process has taken the run folder over.
        """
        self._run.check_lease()
        self._runs.watch(self._jobs)
        self._states = ray.get(self._run.coordinator.training_state.remote(self._cycle))
        for algorithm, state in self._states.items():
            self._bars[algorithm].at(state.step, state.total)

    @property
    def over(self) -> bool:
        """Whether every job has ended, well or not."""
        return len(self._states) == len(self._jobs) and all(state.ended for state in self._states.values())

    @property
    def trained(self) -> tuple[PolicyRef, ...]:
        """The challengers whose training has come to its end."""
        done = (algorithm for algorithm, state in self._states.items() if state.report is not None)
        return tuple(self._run.folder.challenger(self._cycle, algorithm) for algorithm in done)

    def close(self) -> list[Work]:
        """Say which jobs failed; returns when the trainers worked.

        Raises:
            SalusError: all failed.
        """
        for bar in self._bars.values():
            bar.close()
        failures = [f"{a.upper()}: {s.failure}" for a, s in self._states.items() if s.failure is not None]
        for failure in failures:
            self._run.reporter.say(f"cycle {self._cycle}: training failed, {failure}")
        if len(failures) == len(self._jobs):
            raise SalusError(f"No challenger of cycle {self._cycle} could be trained. {' '.join(failures)}")
        return trainer_work(state.report for state in self._states.values() if state.report is not None)
