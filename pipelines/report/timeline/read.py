"""A run's times as its folder holds them, whichever version of Salus wrote it: as lanes, and as a table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby
from typing import Literal, get_args

from rich.table import Table
from rich.text import Text

from actors.contract.publication import Publication, read_publications
from actors.contract.run_folder import RunFolder
from actors.errors import SalusError
from pipelines.cluster.times import WORKER_KINDS, StageTime, WorkerKind, find_times
from pipelines.report.cells import NOTHING, narrow_table
from pipelines.runs.stage_log import read_stage_log

LaneKind = Literal["run", "generator", "judge", "trainer", "endpoint"]
LANE_KINDS: tuple[LaneKind, ...] = get_args(LaneKind)
CYCLES, STAGES = "cycles", "stages"
PUBLICATION, ENDPOINT_START = "publication", "endpoint start"


@dataclass(frozen=True)
class PlacedStage:
    """One stage with its beginning, in seconds since the epoch, and its cycle, if it belongs to one."""

    time: StageTime
    start_s: float
    cycle: int | None = None

    @property
    def end_s(self) -> float:
        return self.start_s + self.time.wall_s


@dataclass(frozen=True)
class Stretch:
    """One stretch of a lane, in seconds since the epoch; `name` says what for, `cycle` where it belongs to one."""

    name: str
    start_s: float
    end_s: float
    cycle: int | None = None


@dataclass(frozen=True)
class TimelineLane:
    """What one worker did: bars in order, none of which overlap. `worker` tells apart lanes of one kind."""

    kind: LaneKind
    worker: str
    bars: tuple[Stretch, ...]

    @property
    def counts_cycles(self) -> bool:
        return self.kind == "run" and self.worker == CYCLES

    @property
    def title(self) -> str:
        return self.worker if self.kind == "run" else f"{self.kind} {self.worker}".strip()


@dataclass(frozen=True)
class Timeline:
    """A run's stages in order and its lanes from top to bottom; neither is empty."""

    run: str
    stages: tuple[PlacedStage, ...]
    lanes: tuple[TimelineLane, ...]
    # Stages of earlier versions, which did not record when they began; they are laid end to end.
    unplaced: int = 0

    @property
    def start_s(self) -> float:
        return min(bar.start_s for lane in self.lanes for bar in lane.bars)


def lanes_of(stages: Iterable[PlacedStage], published: Iterable[Stretch]) -> tuple[TimelineLane, ...]:
    """All lanes of a run, from its stages in order and its publications."""
    stages = list(stages)
    work: dict[tuple[LaneKind, str], list[Stretch]] = {}
    for stage in stages:
        for one in stage.time.work:
            bar = Stretch(stage.time.stage, one.start_s, one.end_s, stage.cycle)
            work.setdefault((one.kind, one.worker), []).append(bar)
    lanes = [
        TimelineLane("run", CYCLES, _apart(_cycles(stages))),
        TimelineLane("run", STAGES, _apart(Stretch(s.time.stage, s.start_s, s.end_s, s.cycle) for s in stages)),
        *(TimelineLane(kind, worker, _apart(work[kind, worker])) for kind, worker in sorted(work, key=_place)),
        TimelineLane("endpoint", "", _apart(published)),
    ]
    return tuple(lane for lane in lanes if lane.bars)


def _cycles(stages: list[PlacedStage]) -> list[Stretch]:
    """A bar for each stretch of stages of one cycle; a cycle that was interrupted has several."""
    stretches = [(cycle, list(group)) for cycle, group in groupby(stages, key=lambda stage: stage.cycle)]
    return [
        Stretch(f"cycle {cycle}", group[0].start_s, group[-1].end_s, cycle)
        for cycle, group in stretches
        if cycle is not None
    ]


def _place(key: tuple[LaneKind, str]) -> tuple[int, int, str]:
    """Engines by their number, trainers by their name."""
    kind, worker = key
    return LANE_KINDS.index(kind), int(worker) if worker.isdecimal() else 0, worker


def _apart(bars: Iterable[Stretch]) -> tuple[Stretch, ...]:
    """Bars in order, each cut to begin where the one before ends: two clocks of one machine differ by microseconds."""
    apart: list[Stretch] = []
    for bar in sorted(bars, key=lambda b: b.start_s):
        start_s = max(bar.start_s, apart[-1].end_s) if apart else bar.start_s
        apart.append(replace(bar, start_s=start_s, end_s=max(start_s, bar.end_s)))
    return tuple(apart)


@dataclass(frozen=True)
class _Stage:
    cycle: int | None
    time: StageTime


def read_timeline(folder: RunFolder) -> Timeline:
    """Where a run's time went, as far as it has come.

    Raises:
        SalusError: it is no run folder, holds no times yet, or holds a damaged file of times.
    """
    if not folder.recipe.is_file():
        raise SalusError(f"{folder.root} is not a run folder: it has no {folder.recipe.name}.")
    found = list(_stages(folder))
    if not found:
        raise SalusError(
            f"{folder.root} holds no times yet: salus align writes them as stages end; single steps write none."
        )
    stages = _placed(found)
    began_s = min((s.time.start_s for s in found if s.time.start_s is not None), default=None)
    # Where no stage's time of day is known, that of a publication cannot be drawn beside them.
    bars = map(_bar, read_publications(folder.publications))
    published = [bar for bar in bars if began_s is not None and bar.end_s > began_s]
    return Timeline(
        run=folder.root.name,
        stages=stages,
        lanes=lanes_of(stages, published),
        unplaced=sum(stage.time.start_s is None for stage in found),
    )


def _stages(folder: RunFolder) -> Iterator[_Stage]:
    for cycle in folder.timed_cycles():
        times = find_times(folder.stages(cycle))
        yield from (_Stage(cycle, time) for time in (times.stages if times else ()))
    yield from (_Stage(logged.cycle, logged.time) for logged in read_stage_log(folder))


def _placed(found: list[_Stage]) -> tuple[PlacedStage, ...]:
    """Stages in order of time; those without a beginning are laid end to end before all others."""
    known = [PlacedStage(s.time, s.time.start_s, s.cycle) for s in found if s.time.start_s is not None]
    unknown = [s for s in found if s.time.start_s is None]
    length_s = sum(stage.time.wall_s for stage in unknown)
    start_s = min((stage.start_s for stage in known), default=length_s) - length_s
    for stage in unknown:
        known.append(PlacedStage(stage.time, start_s, stage.cycle))
        start_s += stage.time.wall_s
    return tuple(sorted(known, key=lambda stage: stage.start_s))


def _bar(live: Publication) -> Stretch:
    end_s = datetime.fromisoformat(live.published_at).timestamp()
    start_s = datetime.fromisoformat(live.began_at).timestamp() if live.began_at is not None else end_s - live.swap_s
    return Stretch(ENDPOINT_START if live.previous is None else PUBLICATION, start_s, end_s, live.cycle or None)


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
