"""A timeline in Chrome's trace event format, which Perfetto (ui.perfetto.dev) and chrome://tracing open.

Format: "Trace Event Format", Google, JSON object form; complete events ("X") and names as metadata events ("M").
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actors.contract.run_folder import RunFolder
from actors.errors import SalusError
from actors.files.atomic import make_folder
from actors.files.shards import write_text
from pipelines.report.timeline.read import LANE_KINDS, LaneKind, Timeline, TimelineLane, read_timeline

# What Chrome calls a process is a kind of worker here, and a thread one worker.
PROCESS: dict[LaneKind, str] = {
    "run": "run",
    "generator": "generators",
    "judge": "judges",
    "trainer": "trainers",
    "endpoint": "endpoint",
}


def trace(timeline: Timeline) -> dict[str, Any]:
    """The trace as JSON; times in microseconds since `start_s`, which is in seconds since the epoch."""
    start_s = timeline.start_s
    events: list[dict[str, Any]] = []
    for kind in LANE_KINDS:
        lanes = [lane for lane in timeline.lanes if lane.kind == kind]
        if lanes:
            events.append(_named("process_name", PROCESS[kind], _pid(kind), 0))
        for tid, lane in enumerate(lanes, start=1):
            events.append(_named("thread_name", lane.title, _pid(kind), tid))
            events += _events(lane, tid, start_s)
    return {
        "traceEvents": events,
        "displayTimeUnit": "ms",
        "otherData": {"run": timeline.run, "start_s": start_s},
    }


@dataclass(frozen=True)
class DrawnTimeline:
    """A timeline and where it was drawn."""

    timeline: Timeline
    picture: Path
    trace: Path


def write_timeline(folder: RunFolder, out: Path | None = None) -> DrawnTimeline:
    """Write `timeline.png` and `timeline.trace.json` to `out`, or to `RUN-timeline` beside the run.

    Raises:
        SalusError: as `read_timeline`; or `out` is in the run folder or cannot be written.
    """
    timeline = read_timeline(folder)
    out = out or folder.root.with_name(f"{folder.root.name}-timeline")
    if out.resolve().is_relative_to(folder.root.resolve()):
        raise SalusError(
            f"{out} is in the run {folder.root}, whose files have checksums; give a folder outside it with --out."
        )
    # Matplotlib takes a second to import.
    from pipelines.report.timeline.picture import draw_timeline

    drawn = DrawnTimeline(timeline, out / "timeline.png", out / "timeline.trace.json")
    try:
        make_folder(out)
        draw_timeline(timeline, drawn.picture)
        write_text(json.dumps(trace(timeline)), drawn.trace)
    except OSError as error:
        raise SalusError(
            f"The timeline cannot be written to {out} ({error}); give another folder with --out."
        ) from error
    return drawn


def _pid(kind: LaneKind) -> int:
    return LANE_KINDS.index(kind) + 1


def _named(what: str, name: str, pid: int, tid: int) -> dict[str, Any]:
    return {"ph": "M", "name": what, "ts": 0, "pid": pid, "tid": tid, "args": {"name": name}}


def _events(lane: TimelineLane, tid: int, start_s: float) -> list[dict[str, Any]]:
    events = []
    for bar in lane.bars:
        # Both ends are rounded, not the length: bars that follow each other still do.
        ts, end = (round((at_s - start_s) * 1e6) for at_s in (bar.start_s, bar.end_s))
        events.append(
            {
                "ph": "X",
                "name": bar.name,
                "cat": lane.kind,
                "ts": ts,
                "dur": end - ts,
                "pid": _pid(lane.kind),
                "tid": tid,
                "args": {"cycle": bar.cycle} if bar.cycle is not None else {},
            }
        )
    return events
