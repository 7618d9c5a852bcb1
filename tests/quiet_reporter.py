"""Reporters of progress that print nothing."""

from __future__ import annotations

from pipelines.cluster.progress import Bar


class _NoBar:
    def advance(self, by: int) -> None:
        """Nothing is drawn."""

    def at(self, done: int, total: int) -> None:
        """Nothing is drawn."""

    def close(self) -> None:
        """Nothing is drawn."""


class QuietReporter:
    """Says nothing."""

    def bar(self, name: str, total: int | None, unit: str) -> Bar:
        return _NoBar()

    def say(self, sentence: str) -> None:
        """Nothing is printed."""


class SaidReporter(QuietReporter):
    """Remembers what it was told to say."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, sentence: str) -> None:
        self.said.append(sentence)
