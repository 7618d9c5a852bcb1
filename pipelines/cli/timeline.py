"""`salus runs timeline`: where a run's time went."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from actors.contract.run_folder import RunFolder
from pipelines.cli.console import console

RunArgument = Annotated[
    str, typer.Argument(metavar="RUN", help="A run folder, or the address of a run; it may still be under way.")
]
Out = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Where the files go, outside the run (RUN-timeline beside it; runs/RUN-timeline for one at an address).",
    ),
]


def timeline(run: RunArgument, out: Out = None) -> None:
    """Draw where a run's time went: a picture, a trace for Perfetto, and a table of wall, busy and idle seconds."""
    from pipelines.report.timeline.read import timeline_table
    from pipelines.report.timeline.trace import write_timeline
    from pipelines.runs.store.reading import readable

    with readable(run) as (root, view):
        if view is not None and out is None:
            out = Path("runs") / f"{root.name}-timeline"
        drawn = write_timeline(RunFolder(root), out)
    console().print(timeline_table(drawn.timeline))
    lines = [f"picture: {drawn.picture}", f"trace, for ui.perfetto.dev: {drawn.trace}"]
    if unplaced := drawn.timeline.unplaced:
        lines.insert(0, f"{unplaced} stages, of an earlier version, are laid end to end: when is unknown.")
    for line in lines:
        console().print(line, markup=False, highlight=False, soft_wrap=True)
