"""Where output goes: what was asked for to stdout, as tables or as JSON; progress and warnings to stderr."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pydantic_core import to_jsonable_python
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from actors.contract.untrusted import visible
from pipelines.cluster.progress import RichReporter
from pipelines.config.cluster import in_ray_job

# Columns of a table that no terminal cuts: more than any table has.
WIDEST = 100_000


@dataclass
class Output:
    """How the command that runs was told to print; one process runs one command at a time."""

    json: bool = False
    quiet: bool = False
    verbose: bool = False
    # Whether the facts were printed.
    answered: bool = False


_told = Output()


def told() -> Output:
    """What the running command was told, to read and to change."""
    return _told


def forget() -> None:
    """A command has ended: the next one is told anew."""
    global _told
    _told = Output()


class SafeConsole(Console):
    """A console that no text can steer: what clients, models and logs wrote is shown with escapes.

    Styles are Rich's own and pass; line breaks stay.
    """

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(visible(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        return super().render(_shown(renderable) if isinstance(renderable, Text) else renderable, options)


def _shown(text: Text) -> Text:
    """The text with escapes; each piece keeps its style."""
    if visible(text.plain) == text.plain:
        return text
    shown = text.blank_copy()
    for piece in text.divide(range(1, len(text))):
        piece.plain = visible(piece.plain)
        shown.append_text(piece)
    return shown


def console() -> Console:
    """Where tables and sentences go that a command was asked for: stdout, and nowhere where JSON is printed instead."""
    return _sized(SafeConsole(quiet=_told.json))


def error_console() -> Console:
    """Where errors and warnings go."""
    return _sized(SafeConsole(stderr=True))


def progress_console() -> Console:
    """Where progress goes: stderr, and nowhere with --quiet."""
    return _sized(SafeConsole(stderr=True, quiet=_told.quiet))


def reporter() -> RichReporter:
    """What long work tells its progress."""
    return RichReporter(progress_console())


def progress_reporter(quiet: bool) -> RichReporter:
    """The same for a program that calls Salus: it is not told by options."""
    return RichReporter(_sized(SafeConsole(stderr=True, quiet=quiet)))


def notice(line: str) -> None:
    """One line of progress."""
    progress_console().print(line, markup=False, highlight=False, soft_wrap=True)


def say(line: str) -> None:
    """One line of what was asked for, never folded; names in it are not ours: no markup."""
    console().print(line, markup=False, highlight=False, soft_wrap=True)


def answer(facts: object) -> None:
    """Print what a command found as one JSON document, where --json asks for that; else nothing.

    Args:
        facts: records, dataclasses, and what JSON holds. A number that is not finite becomes null.
    """
    _told.answered = True
    if _told.json:
        # In ASCII, which steers no terminal and says the same.
        print(json.dumps(to_jsonable_python(facts, inf_nan_mode="null"), indent=2, ensure_ascii=True, allow_nan=False))


def _sized(made: Console) -> Console:
    """Tables are cut and lines folded at a terminal's width alone; what reads a pipe or a file gets all of them."""
    if not made.is_terminal or in_ray_job():
        made.width = WIDEST
    return made
