"""`salus feedback`: what people said of an endpoint's answers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from actors.errors import SalusError
from pipelines.cli.console import console

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="The endpoint's feedback.folder, or a copy of it.")]


def register(app: typer.Typer) -> None:
    feedback = typer.Typer(help="What people said of an endpoint's answers.", no_args_is_help=True)
    feedback.command(epilog="Example: salus feedback show feedback")(show)
    feedback.command(epilog="Example: salus feedback export feedback feedback.parquet")(export)
    app.add_typer(feedback, name="feedback")


def show(folder: Folder) -> None:
    """Count feedback by verdict, policy version, caller and day, and say where callers contradict each other."""
    from pipelines.feedback.counts import count_feedback, feedback_tables
    from pipelines.feedback.items import read_items

    items = read_items(folder)
    shown = feedback_tables(count_feedback(items)) if items.num_rows else f"No feedback in {folder}."
    console().print(shown, markup=False, highlight=False)


def export(
    folder: Folder,
    out: Annotated[Path, typer.Argument(metavar="OUT.parquet", help="A file that is not there yet.")],
) -> None:
    """Write every item beside the answer it is about as one Parquet file."""
    from actors.files.shards import write_table
    from pipelines.feedback.items import read_items

    if out.exists():
        raise SalusError(f"{out} is there already; name another file.")
    items = read_items(folder)
    try:
        write_table(items, out)
    except OSError as error:
        raise SalusError(f"{out} cannot be written ({error.strerror}); name another file.") from error
    console().print(f"{items.num_rows} items of feedback in {out}", markup=False, highlight=False, soft_wrap=True)
