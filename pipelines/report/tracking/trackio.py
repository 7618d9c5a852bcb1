"""Trackio: a run of the project that is called like the recipe, in `TRACKIO_DIR`, or where Trackio's variables say."""

from __future__ import annotations

import contextlib
import sys
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import trackio

from pipelines.report.tracking.port import Ending, Setting, TrackedPolicy, TrackedRun


class TrackioTracker:
    """A run of Trackio's; see `Tracker`. It has no place for files."""

    def __init__(self, run: Any, run_id: str) -> None:
        self.run_id = run_id
        self._run = run

    def settings(self, values: Mapping[str, Setting]) -> None:
        self._run.log({f"settings/{name}": str(value) for name, value in values.items()})

    def figures(self, axis: str, rows: Iterable[tuple[int, Mapping[str, float]]]) -> None:
        for step, row in rows:
            self._run.log(dict(row), step=step)

    def sentence(self, name: str, text: str) -> None:
        self._run.log({name: text})

    def file(self, name: str, path: Path) -> None:
        """None is kept."""

    def policy(self, policy: TrackedPolicy) -> None:
        self._run.log({f"policy/{policy.version}": f"{policy.alias or 'no longer in use'}: {policy.sentence}"})

    def close(self, ending: Ending) -> None:
        with contextlib.redirect_stdout(sys.stderr):
            self._run.finish()


def open_tracker(run: TrackedRun) -> TrackioTracker:
    """See `pipelines.report.tracking.port.open_tracker`."""
    run_id = run.known or f"{run.name}-{uuid.uuid4().hex[:8]}"
    # It prints where it logs, and standard output is the command's.
    with contextlib.redirect_stdout(sys.stderr):
        opened = trackio.init(
            project=run.project,
            name=run_id,
            resume="allow",
            # Of a Space, which would be public.
            private=True,
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )
    return TrackioTracker(opened, run_id)
