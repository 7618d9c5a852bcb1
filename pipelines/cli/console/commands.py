"""The options that commands have in common: --quiet and --verbose, and --json where facts are printed."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from functools import cache
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from pipelines.cli.console.libraries import quiet_libraries
from pipelines.cli.console.output import forget, told


class SalusCommand(TyperCommand):
    """A command with --quiet and --verbose."""

    OPTIONS: tuple[str, ...] = ("quiet", "verbose")

    def __init__(self, name: str | None, *, params: list[Any] | None = None, **options: Any) -> None:
        own = [option for option in _options() if option.name in self.OPTIONS]
        super().__init__(name, params=[*(params or []), *own], **options)

    # Typer's contexts are of no public type.
    def invoke(self, ctx: Any) -> Any:
        with quiet_libraries(verbose=told().verbose):
            return super().invoke(ctx)


class FactsCommand(SalusCommand):
    """A command that prints facts, and so has --json; it hands them to `output.answer`."""

    OPTIONS = (*SalusCommand.OPTIONS, "json")

    def invoke(self, ctx: Any) -> Any:
        done = super().invoke(ctx)
        # A command that forgets its facts would print nothing, which a script takes for none.
        assert told().answered or not told().json, f"{ctx.command_path} printed no facts"
        return done


def _note(name: str) -> Callable[[typer.Context, bool], None]:
    def note(ctx: typer.Context, value: bool) -> None:
        if value:
            setattr(told(), name, True)
            ctx.call_on_close(forget)

    return note


def _shared(
    quiet: Annotated[
        bool,
        typer.Option(
            "--quiet", expose_value=False, callback=_note("quiet"), help="No progress, only results and errors."
        ),
    ] = False,
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose",
            expose_value=False,
            callback=_note("verbose"),
            help="Also what Ray and other libraries log, on stderr.",
        ),
    ] = False,
    json: Annotated[
        bool,
        typer.Option(
            "--json",
            expose_value=False,
            callback=_note("json"),
            help="Print what was found as JSON on stdout; progress and warnings are on stderr.",
        ),
    ] = False,
) -> None:
    """Only its options are used."""


@cache
def _made() -> tuple[Any, ...]:
    """The shared options, as Typer makes them of a function's arguments."""
    maker = typer.Typer(add_completion=False)
    maker.command()(_shared)
    return tuple(option for option in typer.main.get_command(maker).params if option.name != "help")


def _options() -> list[Any]:
    """The shared options; new ones for every command."""
    return [copy(option) for option in _made()]
