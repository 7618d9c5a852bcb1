"""Where a cycle's time goes: wall time per stage, and how much of it engines and trainers were at work."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from actors.generator import Span
from actors.records import Record
from actors.tables import write_text


class StageTime(Record):
    """One stage of a cycle; `busy_s` is the time in which at least one engine or trainer worked."""

    stage: str
    wall_s: float
    busy_s: float


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


class StageClock:
    """Measures stages one after the other; `busy` says how long the stage's engines or trainers worked."""

    def __init__(self, cycle: int) -> None:
        self._cycle = cycle
        self._stages: list[StageTime] = []
        self._busy_s = 0.0
        self._judged_while_generating: bool | None = None

    @contextmanager
    def stage(self, name: str) -> Iterator[StageClock]:
        self._busy_s = 0.0
        start = time.perf_counter()
        yield self
        self._stages.append(StageTime(stage=name, wall_s=time.perf_counter() - start, busy_s=self._busy_s))

    def busy(self, seconds: float) -> None:
        self._busy_s += seconds

    def streamed(self, overlapped: bool) -> None:
        """Note whether judging overlapped generation."""
        self._judged_while_generating = overlapped

    def times(self) -> CycleTimes:
        return CycleTimes(
            cycle=self._cycle,
            stages=tuple(self._stages),
            judged_while_generating=self._judged_while_generating,
        )

    def write(self, path: Path) -> None:
        write_text(self.times().model_dump_json(indent=2), path)


def union_s(spans: Sequence[Span]) -> float:
    """Seconds covered by at least one span."""
    total, end = 0.0, float("-inf")
    for span in sorted(spans, key=lambda s: s.start_s):
        total += max(0.0, span.end_s - max(span.start_s, end))
        end = max(end, span.end_s)
    return total
