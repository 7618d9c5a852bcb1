"""Weights & Biases: a run of the project that is called like the recipe.

`WANDB_MODE`, `WANDB_PROJECT`, `WANDB_ENTITY`, `WANDB_DIR` and the client's other variables say where.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import wandb

from pipelines.report.tracking.port import Ending, Setting, TrackedPolicy, TrackedRun


class WandbTracker:
    """A run of W&B's; see `Tracker`."""

    def __init__(self, run: Any, run_id: str) -> None:
        self.run_id = run_id
        self._run = run
        self._axes: set[str] = set()

    def settings(self, values: Mapping[str, Setting]) -> None:
        # The number of cycles may be another than in an earlier session.
        self._run.config.update(dict(values), allow_val_change=True)

    def figures(self, axis: str, rows: Iterable[tuple[int, Mapping[str, float]]]) -> None:
        for step, row in rows:
            for name in row.keys() - self._axes:
                # W&B's own step only grows, and challengers train at the same time.
                self._run.define_metric(name, step_metric=axis)
                self._axes.add(name)
            self._run.log({**row, axis: step})

    def sentence(self, name: str, text: str) -> None:
        self._run.summary[name] = text

    def file(self, name: str, path: Path) -> None:
        # An artifact's name may not hold a slash.
        artifact = wandb.Artifact(f"{self.run_id}-{name.replace('/', '.')}", type="run-file")
        artifact.add_file(str(path), name=name)
        self._run.log_artifact(artifact)

    def policy(self, policy: TrackedPolicy) -> None:
        self._run.summary[f"policy/{policy.version}"] = f"{policy.alias or 'no longer in use'}: {policy.sentence}"

    def close(self, ending: Ending) -> None:
        self._run.finish(exit_code=0 if ending == "finished" else 1)


def open_tracker(run: TrackedRun) -> WandbTracker:
    """See `pipelines.report.tracking.port.open_tracker`."""
    run_id = run.known or uuid.uuid4().hex[:12]
    opened = wandb.init(
        project=os.environ.get("WANDB_PROJECT", run.project),
        id=run_id,
        name=run.name,
        resume="allow",
        # Several runs of a fleet may be in one process.
        reinit="create_new",
        # The output of this process is its user's.
        settings=wandb.Settings(console="off", silent=True, disable_git=True, disable_code=True),
    )
    return WandbTracker(opened, run_id)
