"""The Ray Train runs of an alignment: resident ones that serve every cycle, or one per cycle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ray

from actors.records import Algorithm, Assignment
from actors.training_loop import launch_training
from pipelines.config.recipe import Recipe
from pipelines.run import COORDINATOR


class TrainingRuns:
    """Starts the runs and tells the coordinator when one of them ends without finishing its job.

    Life: `TrainingRuns(...)` -> [`start`] -> (`begin` -> `watch`*)* -> `close`
    """

    def __init__(self, recipe: Recipe, coordinator: Any, namespace: str, session: str, storage: str) -> None:
        self._config = recipe.train
        self._coordinator = coordinator
        self._namespace = namespace
        self._session = session
        self._storage = storage
        self._runs: dict[Algorithm, ray.ObjectRef[None]] = {}

    def start(self) -> None:
        """Bring resident runs up, so that their imports are done when the first rows are there."""
        if self._config.resident:
            for algorithm in self._config.algorithms:
                self._launch(algorithm, first_index=0, only_index=None)

    def begin(self, jobs: Mapping[Algorithm, Assignment]) -> None:
        """Per cycle: start a run for each job. Resident runs find their job themselves; dead ones are replaced."""
        for algorithm, job in jobs.items():
            if not self._config.resident:
                self._launch(algorithm, first_index=job.index, only_index=job.index)
            elif algorithm not in self._runs:
                self._launch(algorithm, first_index=job.index, only_index=None)

    def watch(self, jobs: Mapping[Algorithm, Assignment]) -> None:
        """Report a run that has ended with an error as its job's failure."""
        for algorithm, job in jobs.items():
            run = self._runs.get(algorithm)
            if run is None or not ray.wait([run], timeout=0)[0]:
                continue
            del self._runs[algorithm]
            try:
                ray.get(run)
            except ray.exceptions.RayError as error:
                ray.get(self._coordinator.training_failed.remote(algorithm, job.index, _sentence(error)))

    def close(self, timeout_s: float = 30.0) -> None:
        """Let resident runs end by themselves, then cancel what is left."""
        ray.get(self._coordinator.stop_training.remote())
        _, running = (
            ray.wait(list(self._runs.values()), num_returns=len(self._runs), timeout=timeout_s)
            if (self._runs)
            else ([], [])
        )
        for run in running:
            ray.cancel(run, force=True)

    def _launch(self, algorithm: Algorithm, first_index: int, only_index: int | None) -> None:
        self._runs[algorithm] = launch_training(
            self._config,
            algorithm,
            COORDINATOR,
            self._namespace,
            # A new session gets new run names: Ray Train would resume an ended run of the same name.
            f"{algorithm}-{self._session}",
            self._storage,
            first_index,
            only_index,
        )


def _sentence(error: Exception) -> str:
    return str(getattr(error, "cause", None) or error).splitlines()[-1]
