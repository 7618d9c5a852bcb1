"""A run's time as lanes: one for its cycles, one for their stages, and one for each worker."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Literal, get_args

from pipelines.cluster.times import StageTime

LaneKind = Literal["run", "generator", "judge", "trainer", "endpoint"]
LANE_KINDS: tuple[LaneKind, ...] = get_args(LaneKind)
CYCLES, STAGES = "cycles", "stages"


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
class Bar:
    """One stretch of a lane, in seconds since the epoch; `name` says what for, `cycle` where it belongs to one."""

    name: str
    start_s: float
    end_s: float
    cycle: int | None = None


@dataclass(frozen=True)
class Lane:
    """What one worker did: bars in order, none of which overlap. `worker` tells apart lanes of one kind."""

    kind: LaneKind
    worker: str
    bars: tuple[Bar, ...]

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
    lanes: tuple[Lane, ...]
    # Stages of earlier versions, which did not record when they began; they are laid end to end.
    unplaced: int = 0

    @property
    def start_s(self) -> float:
        return min(bar.start_s for lane in self.lanes for bar in lane.bars)


def lanes_of(stages: Iterable[PlacedStage], published: Iterable[Bar]) -> tuple[Lane, ...]:
    """All lanes of a run, from its stages in order and its publications."""
    stages = list(stages)
    work: dict[tuple[LaneKind, str], list[Bar]] = {}
    for stage in stages:
        for one in stage.time.work:
            bar = Bar(stage.time.stage, one.start_s, one.end_s, stage.cycle)
            work.setdefault((one.kind, one.worker), []).append(bar)
    lanes = [
        Lane("run", CYCLES, _apart(_cycles(stages))),
        Lane("run", STAGES, _apart(Bar(s.time.stage, s.start_s, s.end_s, s.cycle) for s in stages)),
        *(Lane(kind, worker, _apart(work[kind, worker])) for kind, worker in sorted(work, key=_place)),
        Lane("endpoint", "", _apart(published)),
    ]
    return tuple(lane for lane in lanes if lane.bars)


def _cycles(stages: list[PlacedStage]) -> list[Bar]:
    """A bar for each stretch of stages of one cycle; a cycle that was interrupted has several."""
    stretches = [(cycle, list(group)) for cycle, group in groupby(stages, key=lambda stage: stage.cycle)]
    return [
        Bar(f"cycle {cycle}", group[0].start_s, group[-1].end_s, cycle)
        for cycle, group in stretches
        if cycle is not None
    ]


def _place(key: tuple[LaneKind, str]) -> tuple[int, int, str]:
    """Engines by their number, trainers by their name."""
    kind, worker = key
    return LANE_KINDS.index(kind), int(worker) if worker.isdecimal() else 0, worker


def _apart(bars: Iterable[Bar]) -> tuple[Bar, ...]:
    """Bars in order, each cut to begin where the one before ends: two clocks of one machine differ by microseconds."""
    apart: list[Bar] = []
    for bar in sorted(bars, key=lambda b: b.start_s):
        start_s = max(bar.start_s, apart[-1].end_s) if apart else bar.start_s
        apart.append(replace(bar, start_s=start_s, end_s=max(start_s, bar.end_s)))
    return tuple(apart)
