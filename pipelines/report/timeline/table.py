"""A timeline as a table: wall, busy and idle seconds of each stage, over all cycles and sessions."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from pipelines.cluster.times import WORKER_KINDS, StageTime, WorkerKind
from pipelines.report.cells import NOTHING, narrow_table
from pipelines.report.timeline.lanes import Timeline


def timeline_table(timeline: Timeline) -> Table:
    """A row per stage in order of its first time, and one of all; the share is of all stages' wall time.

    Busy: at least one engine or trainer at work; idle: none. Idle of a kind: none of that kind.
    """
    table = narrow_table(title=Text(f"{timeline.run}: where its time went"))
    table.add_column("stage", no_wrap=True)
    kinds = [f"{kind}\nidle s" for kind in WORKER_KINDS]
    for column in ("wall s", "busy s", "idle s", "share", *kinds):
        table.add_column(column, justify="right", no_wrap=True)
    times = [stage.time for stage in timeline.stages]
    total_s = sum(time.wall_s for time in times)
    for name in dict.fromkeys(time.stage for time in times):
        # A name comes from a file: no markup of its own.
        table.add_row(Text(name), *_cells([time for time in times if time.stage == name], total_s))
    table.add_section()
    table.add_row("all", *_cells(times, total_s), style="bold")
    return table


def _cells(times: Sequence[StageTime], total_s: float) -> list[str]:
    wall_s, busy_s = sum(time.wall_s for time in times), sum(time.busy_s for time in times)
    share = f"{wall_s / total_s:.1%}" if total_s else NOTHING
    seconds = [f"{value:.1f}" for value in (wall_s, busy_s, max(0.0, wall_s - busy_s))]
    return [*seconds, share, *(_idle(times, kind) for kind in WORKER_KINDS)]


def _idle(times: Sequence[StageTime], kind: WorkerKind) -> str:
    """Known only where every one of the stages recorded it."""
    idle = [time.idle_s.get(kind) for time in times]
    known = [value for value in idle if value is not None]
    return f"{sum(known):.1f}" if len(known) == len(idle) else NOTHING
