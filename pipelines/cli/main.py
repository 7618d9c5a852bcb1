"""`salus`: the commands, and the one place where an error becomes a sentence and an exit code."""

from __future__ import annotations

import sys

import typer

from actors.errors import SalusError
from pipelines.cli import (
    align,
    capability,
    data,
    doctor,
    feedback,
    judge,
    key,
    plan,
    policy,
    publish,
    review,
    runs,
    serve,
    status,
    steps,
    study,
)
from pipelines.cli.console import error_console

BAD_INPUT = 2
INTERRUPTED = 130

app = typer.Typer(
    name="salus",
    help="Iterative post-deployment preference alignment for medical assistants, on Ray.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
for command in (
    align,
    study,
    plan,
    doctor,
    data,
    status,
    runs,
    steps,
    judge,
    review,
    feedback,
    capability,
    publish,
    policy,
    key,
    serve,
):
    command.register(app)


def main(arguments: list[str] | None = None) -> None:
    """Run a command (None: of the command line); bad input gets one sentence and exit code 2, Ctrl-C 130."""
    try:
        app(arguments, standalone_mode=True)
    except SalusError as error:
        error_console().print(f"salus: {plain(error)}", markup=False, highlight=False, soft_wrap=True)
        sys.exit(BAD_INPUT)
    except SystemExit as end:
        # Typer turns Ctrl-C into this exit code.
        if end.code == INTERRUPTED:
            error_console().print("salus: interrupted; the same command goes on where it stopped.", markup=False)
        raise


def plain(error: SalusError) -> str:
    """The sentence, also of an error that crossed a Ray actor and carries a remote traceback in its text."""
    cause = getattr(error, "cause", None)
    return cause.sentence if isinstance(cause, SalusError) else getattr(error, "sentence", str(error))


if __name__ == "__main__":
    main()
