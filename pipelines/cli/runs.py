"""`salus runs`: what is known of finished runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from actors.errors import SalusError
from actors.run_folder import RunFolder
from pipelines.checksums import Checked, check_sums
from pipelines.cli.console import console
from pipelines.cli.timeline import timeline

SHOWN = 5


def register(app: typer.Typer) -> None:
    runs = typer.Typer(help="Look after finished runs.", no_args_is_help=True)
    runs.command(epilog="Example: salus runs verify runs/demo-s7")(verify)
    runs.command(epilog="Example: salus runs timeline runs/demo-s7")(timeline)
    app.add_typer(runs, name="runs")


def verify(run: Annotated[Path, typer.Argument(metavar="RUN", help="A finished run's folder.")]) -> None:
    """Hold every file of a run against the SHA-256 sums written when it ended, and print the run's hash."""
    checked = check_sums(RunFolder(run))
    if not checked.intact:
        raise SalusError(
            f"{run} is not what its run left ({_said(checked)}); take the files from a copy, or run the same command"
            " with --fresh."
        )
    console().print(
        f"{run}: {checked.files} files as the run left them, run hash {checked.run_hash}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def _said(checked: Checked) -> str:
    parts = (("changed", checked.changed), ("missing", checked.missing), ("added", checked.added))
    return "; ".join(f"{what}: {_few(names)}" for what, names in parts if names)


def _few(names: tuple[str, ...]) -> str:
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")
