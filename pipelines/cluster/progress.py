"""Progress of long work: a small port, and its rich side."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

from pipelines.config.cluster import in_ray_job

LOG_EVERY_S = 30.0


class Bar(Protocol):
    """One running count."""

    def advance(self, by: int) -> None: ...

    def at(self, done: int, total: int) -> None: ...

    def close(self) -> None: ...


class Reporter(Protocol):
    """Where a pipeline says how far it is."""

    def bar(self, name: str, total: int | None, unit: str) -> Bar:
        """A new count towards `total` (None: not known)."""

    def say(self, sentence: str) -> None:
        """One line that stays."""


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        unit = task.fields.get("unit", "")
        return Text(f"{speed:.0f} {unit}/s" if speed and speed >= 10 else f"{speed:.1f} {unit}/s" if speed else "")


class _RichBar:
    def __init__(self, progress: Progress, name: str, total: int | None, unit: str) -> None:
        self._progress = progress
        self._task = progress.add_task(name, total=total, unit=unit)

    def advance(self, by: int) -> None:
        self._progress.advance(self._task, by)

    def at(self, done: int, total: int) -> None:
        self._progress.update(self._task, completed=done, total=total or None)

    def close(self) -> None:
        task = next(t for t in self._progress.tasks if t.id == self._task)
        self._progress.update(self._task, total=task.completed, visible=False)


class _LogBar:
    """A line every `LOG_EVERY_S` seconds and one at the end, for logs that are not watched live."""

    def __init__(self, console: Console, name: str, total: int | None, unit: str) -> None:
        self._console, self._name, self._total, self._unit = console, name, total, unit
        self._done = 0
        self._start = self._last = time.monotonic()

    def advance(self, by: int) -> None:
        self.at(self._done + by, self._total or 0)

    def at(self, done: int, total: int) -> None:
        self._done, self._total = done, total or self._total
        if time.monotonic() - self._last >= LOG_EVERY_S:
            self._last = time.monotonic()
            self._print("")

    def close(self) -> None:
        self._print(", done")

    def _print(self, end: str) -> None:
        seconds = time.monotonic() - self._start
        count = (
            f" {self._done}" + (f" of {self._total}" if self._total else "") + f" {self._unit}," if self._unit else ""
        )
        # Not folded at a width that no one sees: a line of a log is one record.
        line = f"{self._name}:{count} {seconds:.0f} s{end}"
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


def _draws(console: Console) -> bool:
    """Whether bars can be drawn anew: in a notebook, widgets do that, and without them lines are printed."""
    return not console.is_jupyter or find_spec("ipywidgets") is not None


class RichReporter:
    """Bars with counts and rates on a terminal and in a notebook with ipywidgets.

    On anything else it prints a line now and then, and one per finished step.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        # The output of a job is a file, also where FORCE_COLOR calls it a terminal.
        self._watched = console.is_terminal and not in_ray_job() and _draws(console)
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            _Rate(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not self._watched,
        )

    def bar(self, name: str, total: int | None, unit: str) -> Bar:
        if not self._watched:
            return _LogBar(self.console, name, total, unit)
        return _RichBar(self._progress, name, total, unit)

    def say(self, sentence: str) -> None:
        self._progress.console.print(sentence, markup=False, highlight=False, soft_wrap=not self._watched)

    @contextmanager
    def live(self) -> Iterator[RichReporter]:
        """Bars are drawn while this is open."""
        with self._progress:
            yield self
