"""Progress of long work: a small port, its rich side, and one that says nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
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


class RichReporter:
    """Bars with counts and rates on a terminal; on anything else one line per finished step."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            _Rate(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )

    def bar(self, name: str, total: int | None, unit: str) -> Bar:
        return _RichBar(self._progress, name, total, unit)

    def say(self, sentence: str) -> None:
        self._progress.console.print(sentence, markup=False, highlight=False)

    @contextmanager
    def live(self) -> Iterator[RichReporter]:
        """Bars are drawn while this is open."""
        with self._progress:
            yield self


class _NoBar:
    def advance(self, by: int) -> None:
        """Nothing is drawn."""

    def at(self, done: int, total: int) -> None:
        """Nothing is drawn."""

    def close(self) -> None:
        """Nothing is drawn."""


class QuietReporter:
    """Says nothing; for tests and for callers with a display of their own."""

    def bar(self, name: str, total: int | None, unit: str) -> Bar:
        return _NoBar()

    def say(self, sentence: str) -> None:
        """Nothing is printed."""
