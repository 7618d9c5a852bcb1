"""`salus logs`: what the workers of a run print, or printed."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

import typer

from actors.contract.run_folder import RunFolder
from actors.contract.session_logs import SessionLogs
from actors.contract.untrusted import visible
from actors.errors import SalusError
from actors.files.worker_logs import LogLine, WorkerLogs, kept_sessions
from pipelines.cli.console.commands import SalusCommand
from pipelines.cli.console.output import notice

POLL_S = 0.5


def register(app: typer.Typer) -> None:
    app.command(cls=SalusCommand, epilog="Example: salus logs runs/demo-s7 --actor generator --follow")(logs)


def logs(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run folder, or the address of a run made here.")],
    actor: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only actors and tasks with this in their names.")
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the run's session ends, or Ctrl-C.")
    ] = False,
) -> None:
    """Print what the actors and tasks of a run print: of the session that works now, else of the last one.

    The newest three sessions are kept in the run's folder logs/, on the machine of the run. Of a cluster these are the
    workers on that machine.
    """
    from pipelines.runs.store.place import place_of, working_folder

    folder = RunFolder(working_folder(place_of(run)))
    if not folder.recipe.is_file():
        raise SalusError(f"{run} is not a run folder: it has no {folder.recipe.name}.")
    with contextlib.suppress(KeyboardInterrupt):
        _print(_followed(folder, follow), actor)


def _followed(folder: RunFolder, follow: bool) -> Iterator[LogLine]:
    """The lines there are; with `follow`, also those that the session adds."""
    session = SessionLogs.of_run(folder)
    if session is None:
        yield from _kept(folder)
        return
    reader = WorkerLogs(Path(session.folder), session.job)
    while follow and SessionLogs.of_run(folder) == session:
        yield from reader.lines()
        time.sleep(POLL_S)
    yield from reader.lines(last=True)


def _kept(folder: RunFolder) -> Iterator[LogLine]:
    sessions = kept_sessions(folder.worker_logs)
    if not sessions:
        raise SalusError(
            f"No worker of {folder.root} has printed anything that is kept here. A session that was killed keeps no"
            " logs; those of a cluster's other machines are in Ray's folder there."
        )
    yield from WorkerLogs(sessions[-1]).lines(last=True)


def _print(lines: Iterable[LogLine], actor: str | None) -> None:
    """Each line behind the name and process of who printed it; what workers print cannot steer the terminal."""
    seen: set[str] = set()
    shown = 0
    for line in lines:
        seen.add(line.actor)
        if actor is None or actor.casefold() in line.actor.casefold():
            print(visible(f"{line.actor}({line.pid}) {line.text}"), flush=True)
            shown += 1
    if not shown and actor is not None and seen:
        raise SalusError(f"No actor has {actor!r} in its name; there are {', '.join(sorted(map(visible, seen)))}.")
    if not shown:
        notice("The workers have printed nothing.")
