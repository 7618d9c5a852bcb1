"""How far a training is, told by its first rank: not at every step, and through a file where no actor is asked.

What it logged: the curve that grows beside it, and the figures of its report.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from pydantic import ValidationError

from actors.contract.records import Record
from actors.errors import SalusError
from actors.files.atomic import replacing, write_atomically
from actors.training.curve import curve_table

PROGRESS_S = 0.5
# Between two writings of a curve; the whole file is written each time.
CURVE_S = 2.0
Tell = Callable[[int, int], None]
# A trainer's log: a row for each logged step, and more at the end.
Logs = Sequence[Mapping[str, Any]]


def throttled(progress: Tell) -> Tell:
    """`progress`, told at most every `PROGRESS_S` seconds, and at the last step."""
    last_s = 0.0

    def on_step(step: int, total: int) -> None:
        nonlocal last_s
        now_s = time.monotonic()
        if step == total or now_s - last_s >= PROGRESS_S:
            last_s = now_s
            progress(step, total)

    return on_step


class Progress(Record):
    """Optimizer steps done and in all, and the sentence a training ended with where it could not go on."""

    step: int = 0
    total: int = 0
    fault: str | None = None


class ProgressFile:
    """A training's progress in a file that its workers and its driver both see."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def tell(self, step: int, total: int) -> None:
        self._write(Progress(step=step, total=total))

    def fail(self, sentence: str) -> None:
        self._write(Progress(fault=sentence))

    def read(self) -> Progress:
        """What was told last; nothing done where nothing was told yet."""
        try:
            return Progress.model_validate_json(self._path.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValidationError):
            return Progress()

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)

    def _write(self, progress: Progress) -> None:
        # A training step waits for it, and it ends with its process.
        write_atomically(self._path, progress.model_dump_json().encode(), sync=False)


class CurveFile:
    """A training's curve on disk (`actors.training.curve`), written by its first rank."""

    def __init__(self, path: Path, every_s: float = CURVE_S) -> None:
        self._path = path
        self._every_s = every_s
        self._last_s = -math.inf

    def look(self, logs: Logs) -> None:
        """Write what was logged by now, unless that was done a moment ago.

        A disk that refuses is not told: other ranks may wait for this one, and `write` at the end tells.
        """
        now_s = time.monotonic()
        if now_s - self._last_s >= self._every_s:
            self._last_s = now_s
            with contextlib.suppress(OSError, SalusError):
                # A training step waits for it.
                self.write(logs, sync=False)

    def write(self, logs: Logs, sync: bool = True) -> None:
        """Write all of it. Raises as `actors.files.atomic.replacing` does."""
        with replacing(self._path, sync=sync) as file:
            pq.write_table(curve_table(logs), file)


def mean_loss(logs: Logs, since: float, resumed_at: int, steps: int) -> float:
    """The mean loss over all `steps`; `since` is that of the steps after `resumed_at`, before which all were logged."""
    if not resumed_at:
        return since
    total, last = 0.0, 0.0
    for entry in logs:
        if "loss" in entry and entry["step"] <= resumed_at:
            total += float(entry["loss"]) * (entry["step"] - last)
            last = entry["step"]
    return (total + since * (steps - resumed_at)) / max(steps, 1)


def logged_figures(logs: Logs, mean: float, resumed_at: int, steps: int) -> dict[str, float]:
    """The figures of a training's report.

    They are the mean loss over all steps, over the first tenth of them, and over the last tenth. Each of TRL's own
    figures is its mean over the last tenth. Of the learning rate and of what TRL counts it is the last value.
    """
    rows = [entry for entry in logs if "loss" in entry]
    metrics = {"loss_mean": mean}
    if not rows:
        return metrics
    tenth = max(1, math.ceil(steps / 10))
    first = [row for row in rows if row["step"] <= tenth] or rows[:1]
    last = [row for row in rows if row["step"] > steps - tenth] or rows[-1:]
    metrics |= {"loss_first": _mean(first, "loss"), "loss_last": _mean(last, "loss")}
    for name in dict.fromkeys(name for row in rows for name in row if name not in ("loss", "step", "epoch")):
        value = _mean(rows[-1:] if name in ("learning_rate", "num_tokens") else last, name)
        if math.isfinite(value):
            metrics[name] = value
    if resumed_at and "num_tokens" in metrics:
        # TRL counts from where it went on.
        metrics["num_tokens"] += max(row["num_tokens"] for row in rows if row["step"] <= resumed_at)
    return metrics


def _mean(rows: Logs, name: str) -> float:
    """Of the rows that have this figure; NaN where none has."""
    values = [float(row[name]) for row in rows if name in row]
    return math.fsum(values) / len(values) if values and all(map(math.isfinite, values)) else math.nan
