"""A timeline in Chrome's trace event format, which Perfetto (ui.perfetto.dev) and chrome://tracing open.

Format: "Trace Event Format", Google, JSON object form; complete events ("X") and names as metadata events ("M").
"""

from __future__ import annotations

from typing import Any

from pipelines.report.timeline.lanes import LANE_KINDS, Lane, LaneKind, Timeline

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


def _pid(kind: LaneKind) -> int:
    return LANE_KINDS.index(kind) + 1


def _named(what: str, name: str, pid: int, tid: int) -> dict[str, Any]:
    return {"ph": "M", "name": what, "ts": 0, "pid": pid, "tid": tid, "args": {"name": name}}


def _events(lane: Lane, tid: int, start_s: float) -> list[dict[str, Any]]:
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
