"""MLflow: a run of the experiment that is called like the recipe, and its winners in the registry of models.

`MLFLOW_TRACKING_URI` and MLflow's other variables say where; without them it is `mlflow.db` in the working folder.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from pipelines.report.tracking.port import Alias, Ending, Setting, TrackedPolicy, TrackedRun

# What one request of MLflow's takes.
_METRICS = 1000
_PARAMS = 100
_LONGEST = 500
# A tag that tells a registered version's policy.
_POLICY = "salus.policy"
_STATUS: Mapping[Ending, str] = {"finished": "FINISHED", "failed": "FAILED", "stopped": "KILLED"}


class MlflowTracker:
    """A run of MLflow's; see `Tracker`."""

    def __init__(self, client: MlflowClient, run: TrackedRun) -> None:
        self._client = client
        self._run = run
        if run.known is not None:
            self.run_id = run.known
            client.update_run(run.known, status="RUNNING")
            return
        experiment = client.get_experiment_by_name(run.project)
        place = experiment.experiment_id if experiment is not None else client.create_experiment(run.project)
        self.run_id = client.create_run(place, run_name=run.name).info.run_id

    def settings(self, values: Mapping[str, Setting]) -> None:
        params = [Param(name, str(value)[:_LONGEST]) for name, value in values.items()]
        # A parameter is written once. What a later session may change, as the number of cycles, is a tag.
        known = self._client.get_run(self.run_id).data.params
        changed = [each for each in params if known.get(each.key, each.value) != each.value]
        new = [each for each in params if each.key not in known]
        for start in range(0, len(new), _PARAMS):
            self._client.log_batch(self.run_id, params=new[start : start + _PARAMS])
        if changed:
            self._client.log_batch(self.run_id, tags=[RunTag(each.key, each.value) for each in changed])

    def figures(self, axis: str, rows: Iterable[tuple[int, Mapping[str, float]]]) -> None:
        now_ms = int(time.time() * 1000)
        metrics = [Metric(name, value, now_ms, step) for step, row in rows for name, value in row.items()]
        for start in range(0, len(metrics), _METRICS):
            self._client.log_batch(self.run_id, metrics=metrics[start : start + _METRICS])

    def sentence(self, name: str, text: str) -> None:
        self._client.set_tag(self.run_id, name, text)

    def file(self, name: str, path: Path) -> None:
        folder = Path(name).parent.as_posix()
        self._client.log_artifact(self.run_id, str(path), None if folder == "." else folder)

    def policy(self, policy: TrackedPolicy) -> None:
        model = self._run.project
        version = self._version(policy) or self._register(policy)
        self._client.set_model_version_tag(model, version, "salus.alias", policy.alias or "none")
        aliases: tuple[Alias, ...] = ("champion", "challenger")
        for alias in aliases:
            if alias == policy.alias:
                self._client.set_registered_model_alias(model, alias, version)
            elif self._holder(alias) == version:
                self._client.delete_registered_model_alias(model, alias)

    def close(self, ending: Ending) -> None:
        self._client.set_terminated(self.run_id, _STATUS[ending])

    def _version(self, policy: TrackedPolicy) -> str | None:
        """The number under which this run's policy is registered; None where it is not."""
        for found in self._client.search_model_versions(f"run_id = '{self.run_id}'"):
            if found.tags.get(_POLICY) == policy.version:
                return str(found.version)
        return None

    def _register(self, policy: TrackedPolicy) -> str:
        try:
            self._client.create_registered_model(self._run.project)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        place = f"policies/{policy.version}"
        self._client.log_dict(self.run_id, _told(policy), f"{place}/policy.json")
        if policy.adapter is not None:
            self._client.log_artifacts(self.run_id, str(policy.adapter), f"{place}/adapter")
        made = self._client.create_model_version(
            self._run.project,
            f"{self._client.get_run(self.run_id).info.artifact_uri}/{place}",
            self.run_id,
            tags={_POLICY: policy.version, "salus.run": self._run.name, "salus.cycle": str(policy.cycle)},
            description=policy.sentence,
        )
        return str(made.version)

    def _holder(self, alias: Alias) -> str | None:
        """The version that has an alias now."""
        found: Mapping[str, Any] = self._client.get_registered_model(self._run.project).aliases
        return str(found[alias]) if alias in found else None


def _told(policy: TrackedPolicy) -> dict[str, Any]:
    return {"version": policy.version, "cycle": policy.cycle, "weights": str(policy.weights), "why": policy.sentence}


def open_tracker(run: TrackedRun) -> MlflowTracker:
    """See `pipelines.report.tracking.port.open_tracker`."""
    # They tell of each table of a new database.
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return MlflowTracker(MlflowClient(), run)
