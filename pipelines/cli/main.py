"""`salus`: the commands, and the one place where an error becomes a sentence and an exit code."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from types import FrameType
from typing import Annotated, NoReturn

import typer

from actors.contract.loopback import no_proxy
from actors.errors import SalusError, own_error
from actors.files.full_disk import full_disk
from actors.files.private import private_files
from pipelines.cli import align, capability, cluster, data, feedback, judge, key, plan, policy, serve, several
from pipelines.cli.console.exit_codes import ExitCode, epilog
from pipelines.cli.console.output import error_console
from pipelines.cli.init import command as init
from pipelines.cli.runs import command as runs
from pipelines.cli.runs import logs
from pipelines.cluster.environment import environment

# Ray's own handler of SIGTERM, which takes the place of this one's, ends with the signal's bare number.
STOPPED = (ExitCode.STOPPED, int(signal.SIGTERM))

app = typer.Typer(
    name="salus",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    epilog=epilog(),
)
for command in (
    init,
    align,
    several,
    plan,
    cluster,
    data,
    runs,
    logs,
    judge,
    feedback,
    capability,
    policy,
    key,
    serve,
):
    command.register(app)


def _version(asked: bool) -> None:
    if asked:
        print(f"salus {metadata.version('salus')}")
        raise typer.Exit


@app.callback()
def salus(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_version, help="Print the version and end.")
    ] = False,
) -> None:
    """Iterative post-deployment preference alignment for medical assistants, on Ray."""


def main(arguments: list[str] | None = None) -> None:
    """Run a command (None: of the command line); bad input gets one sentence and exit code 2, Ctrl-C 130, SIGTERM 143.

    What it and its processes write is private to the user. Their requests to this machine go through no proxy, and
    their output is UTF-8 in every locale.
    """
    for stream in (sys.stdout, sys.stderr):
        # Under LC_ALL=C it may be ASCII, which has no letter for the line of a table.
        if isinstance(stream, io.TextIOWrapper) and stream.encoding.lower() != "utf-8":
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    try:
        with private_files(), environment(no_proxy()), _stoppable():
            app(arguments, standalone_mode=True)
    except SalusError as error:
        _refuse(plain(error))
    except SystemExit as end:
        # Typer turns Ctrl-C into this exit code.
        if end.code == ExitCode.INTERRUPTED:
            error_console().print("salus: interrupted; the same command goes on where it stopped.", markup=False)
        elif end.code in STOPPED:
            error_console().print("salus: stopped; the same command goes on where it stopped.", markup=False)
            sys.exit(ExitCode.STOPPED)
        raise
    except Exception as error:  # Only to ask what is behind it: the disk of a log or of a cache may be full.
        fault = full_disk(error)
        if fault is None:
            raise
        _refuse(fault.sentence)


@contextmanager
def _stoppable() -> Iterator[None]:
    """SIGTERM, by which `ray job stop`, Slurm and Kubernetes end a program, unwinds it: leases are given back."""

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        sys.exit(ExitCode.STOPPED)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)


def _refuse(sentence: str) -> NoReturn:
    # Where even this cannot be written, the exit code has to do.
    with contextlib.suppress(OSError):
        error_console().print(f"salus: {sentence}", markup=False, highlight=False, soft_wrap=True)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            # Python would try once more at its end, and end with another code.
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    sys.exit(ExitCode.BAD_INPUT)


def plain(error: SalusError) -> str:
    """The sentence, also of an error that crossed a Ray actor and carries a remote traceback in its text."""
    return getattr(own_error(error) or error, "sentence", str(error))


if __name__ == "__main__":
    main()
