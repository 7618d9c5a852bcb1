"""Every command of the typer app, by the words that call it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer

from pipelines.cli.main import app


def commands() -> dict[str, Any]:
    """The commands by their words, as "runs list"."""
    return dict(_below(typer.main.get_command(app), ()))


def _below(command: Any, words: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    inner = getattr(command, "commands", None)
    if inner is None:
        yield " ".join(words), command
        return
    for name, each in inner.items():
        yield from _below(each, (*words, name))
