"""TensorBoard: event files in `tensorboard/` beside the run folder, or where `TENSORBOARD_LOGGING_DIR` says."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from pipelines.report.tracking.port import Ending, Setting, TrackedPolicy, TrackedRun


class TensorBoardTracker:
    """A folder of event files; see `Tracker`. It has no place for files."""

    def __init__(self, folder: Path, run_id: str) -> None:
        self.run_id = run_id
        self._writer = SummaryWriter(str(folder / run_id))

    def settings(self, values: Mapping[str, Setting]) -> None:
        rows = [f"| {name} | `{str(value).replace('`', ' ').replace('|', ' ')}` |" for name, value in values.items()]
        self._text("settings", "\n".join(["| setting | value |", "| --- | --- |", *rows]))

    def figures(self, axis: str, rows: Iterable[tuple[int, Mapping[str, float]]]) -> None:
        for step, row in rows:
            for name, value in row.items():
                self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def sentence(self, name: str, text: str) -> None:
        self._text(name, text)

    def file(self, name: str, path: Path) -> None:
        """None is kept."""

    def policy(self, policy: TrackedPolicy) -> None:
        self._text(f"policy/{policy.version}", f"{policy.alias or 'no longer in use'}: {policy.sentence}")

    def close(self, ending: Ending) -> None:
        self._text("ending", ending)
        self._writer.close()

    def _text(self, name: str, text: str) -> None:
        self._writer.add_text(name, text)
        self._writer.flush()


def open_tracker(run: TrackedRun) -> TensorBoardTracker:
    """See `pipelines.report.tracking.port.open_tracker`."""
    folder = os.environ.get("TENSORBOARD_LOGGING_DIR")
    known = run.known or f"{run.name}-{uuid.uuid4().hex[:8]}"
    return TensorBoardTracker(Path(folder) if folder else run.root.parent / "tensorboard", known)
