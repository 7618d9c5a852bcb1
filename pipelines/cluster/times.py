"""Where a run's time goes: when each stage ran, and when engines and trainers were at work in it.

A stage is timed in the driver, work in the worker that did it, both by `time.time()`. The clocks of all machines of a
cluster are taken as synchronised. What their difference puts outside its stage is cut off.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Literal, Protocol

from pydantic import Field, FiniteFloat

from actors.contract.records import Record, TrainReport
from actors.contract.span import Span
from actors.files.records import find_record
from actors.files.shards import write_text

WorkerKind = Literal["generator", "judge", "trainer"]
WORKER_KINDS: tuple[WorkerKind, ...] = ("generator", "judge", "trainer")


class Timed(Protocol):
    """Anything with a beginning and an end, in seconds since the epoch."""

    @property
    def start_s(self) -> float: ...

    @property
    def end_s(self) -> float: ...


class Work(Record):
    """When one worker worked on one thing, in seconds since the epoch."""

    kind: WorkerKind
    # An engine's place in its pool, or the challenger of a trainer.
    worker: str = Field(max_length=64)
    start_s: FiniteFloat
    end_s: FiniteFloat


class StageTime(Record):
    """One stage; `busy_s` is the time in which at least one engine or trainer worked.

    Runs of earlier versions have no more than the first three fields.
    """

    stage: str
    wall_s: FiniteFloat
    busy_s: FiniteFloat
    # Seconds since the epoch.
    start_s: FiniteFloat | None = None
    work: tuple[Work, ...] = ()
    # Wall time in which no worker of a kind worked.
    idle_s: dict[WorkerKind, FiniteFloat] = Field(default_factory=dict)


class CycleTimes(Record):
    """All stages of one cycle."""

    cycle: int
    stages: tuple[StageTime, ...]
    # Whether a judge was at work before the last shard was generated; None where nothing was generated anew.
    judged_while_generating: bool | None = None

    @property
    def wall_s(self) -> float:
        return sum(stage.wall_s for stage in self.stages)

    @property
    def orchestration_s(self) -> float:
        """Wall time in which neither an engine nor a trainer worked."""
        return sum(stage.wall_s - stage.busy_s for stage in self.stages)


class NodesHeld(Record):
    """Nodes with GPUs that were up, in seconds of one node and of one GPU, and the most at once."""

    node_s: float = 0.0
    gpu_s: float = 0.0
    most: int = 0

    def __add__(self, other: NodesHeld) -> NodesHeld:
        return NodesHeld(
            node_s=self.node_s + other.node_s,
            gpu_s=self.gpu_s + other.gpu_s,
            most=max(self.most, other.most),
        )


class NodeUse(Record):
    """Seconds of nodes with GPUs: those that were up, those that the work took, and the share that was idle."""

    used_s: float
    # As long as an engine or trainer was at work on each GPU of a node.
    ideal_s: float
    idle_share: float
    most: int

    @classmethod
    def of(cls, held: NodesHeld, busy_gpu_s: float) -> NodeUse | None:
        """None where no node with GPUs was seen.

        Args:
            held: which nodes were up.
            busy_gpu_s: seconds of one GPU in which a worker was at work on it.
        """
        if not held.gpu_s:
            return None
        share = min(1.0, busy_gpu_s / held.gpu_s)
        return cls(
            used_s=round(held.node_s, 1),
            ideal_s=round(held.node_s * share, 1),
            idle_share=round(1 - share, 4),
            most=held.most,
        )


class Stopwatch:
    """Times one stage from now on; `worked` tells it who worked meanwhile."""

    def __init__(self, stage: str) -> None:
        self._stage = stage
        self._work: list[Work] = []
        self._start_s = time.time()
        self._began = time.perf_counter()

    def worked(self, work: Iterable[Work]) -> None:
        self._work.extend(work)

    def stop(self) -> StageTime:
        """The stage, which ends now; work that an earlier session of the run did counts for nothing."""
        wall_s = time.perf_counter() - self._began
        work = _within(self._work, self._start_s, self._start_s + wall_s)
        return StageTime(
            stage=self._stage,
            wall_s=wall_s,
            busy_s=min(wall_s, union_s(work)),
            start_s=self._start_s,
            work=tuple(work),
            idle_s={kind: max(0.0, wall_s - union_s(w for w in work if w.kind == kind)) for kind in WORKER_KINDS},
        )


@contextmanager
def timed(stage: str, keep: Callable[[StageTime], None]) -> Iterator[Stopwatch]:
    """Time a stage and keep its time, also where it ends with an error."""
    watch = Stopwatch(stage)
    try:
        yield watch
    finally:
        keep(watch.stop())


class StageClock:
    """Times the stages of a cycle, one after the other."""

    def __init__(self, cycle: int) -> None:
        self.cycle = cycle
        self._stages: list[StageTime] = []
        self._judged_while_generating: bool | None = None

    def stage(self, name: str) -> AbstractContextManager[Stopwatch]:
        return timed(name, self._stages.append)

    @property
    def last(self) -> StageTime:
        """The stage that ended last; there must be one."""
        return self._stages[-1]

    def streamed(self, overlapped: bool) -> None:
        """Note whether judging overlapped generation."""
        self._judged_while_generating = overlapped

    def times(self) -> CycleTimes:
        return CycleTimes(
            cycle=self.cycle,
            stages=tuple(self._stages),
            judged_while_generating=self._judged_while_generating,
        )

    def write(self, path: Path) -> None:
        write_text(self.times().model_dump_json(indent=2), path)


def find_times(path: Path) -> CycleTimes | None:
    """What `StageClock.write` wrote; None where it is not there.

    Raises:
        SalusError: it cannot be read.
    """
    return find_record(CycleTimes, path, "a record of a cycle's times", "take it from a copy or delete it")


def engine_work(kind: WorkerKind, spans: Iterable[Span]) -> list[Work]:
    """What the engines of one pool did; a shard that was read back from disk took no work."""
    return [
        Work(kind=kind, worker=str(span.worker or 0), start_s=span.start_s, end_s=span.end_s)
        for span in spans
        if span.end_s > span.start_s
    ]


def trainer_work(reports: Iterable[TrainReport]) -> list[Work]:
    """When the trainers trained, without start-up or merging; a report of an earlier version does not say."""
    return [
        Work(kind="trainer", worker=report.name, start_s=start_s, end_s=start_s + report.train_s)
        for report in reports
        if (start_s := report.train_start_s) is not None
    ]


def covered(spans: Iterable[Timed]) -> list[tuple[float, float]]:
    """The stretches that at least one span covers, in order and apart from each other."""
    stretches: list[tuple[float, float]] = []
    for span in sorted(spans, key=lambda s: s.start_s):
        if stretches and span.start_s <= stretches[-1][1]:
            start, end = stretches.pop()
            stretches.append((start, max(end, span.end_s)))
        else:
            stretches.append((span.start_s, span.end_s))
    return stretches


def union_s(spans: Iterable[Timed]) -> float:
    """Seconds covered by at least one span."""
    return sum(end - start for start, end in covered(spans))


def _within(work: Iterable[Work], start_s: float, end_s: float) -> list[Work]:
    cut = (
        w.model_copy(update={"start_s": max(w.start_s, start_s), "end_s": min(w.end_s, end_s)})
        for w in sorted(work, key=lambda w: w.start_s)
    )
    return [w for w in cut if w.end_s > w.start_s]
