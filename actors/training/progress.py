"""How far a training is, told by its first rank: not at every step, and through a file where no actor is asked."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError

from actors.contract.records import Record
from actors.files.atomic import write_atomically

PROGRESS_S = 0.5
Tell = Callable[[int, int], None]


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
