"""Stage times: unions of spans by hand, orchestration as what is left."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.generator import Span
from pipelines.clock import CycleTimes, StageClock, StageTime, union_s


def span(start: float, end: float) -> Span:
    return Span(start_s=start, end_s=end, rows=1)


@pytest.mark.parametrize(
    ("spans", "expected"),
    [
        ([], 0),
        ([(0, 2), (1, 3)], 3),
        ([(5, 6), (0, 2)], 3),
        ([(0, 10), (2, 3), (9, 12)], 12),
        ([(1, 1)], 0),
    ],
)
def test_time_covered_by_at_least_one(spans: list[tuple[float, float]], expected: float) -> None:
    assert union_s([span(*s) for s in spans]) == expected


def test_orchestration_is_what_no_engine_or_trainer_fills() -> None:
    times = CycleTimes(
        cycle=1,
        stages=(
            StageTime(stage="rollout", wall_s=10, busy_s=9),
            StageTime(stage="train", wall_s=20, busy_s=18),
            StageTime(stage="decide", wall_s=1, busy_s=0),
        ),
    )
    assert (times.wall_s, times.orchestration_s) == (31, 4)


def test_the_clock_writes_its_stages(tmp_path: Path) -> None:
    clock = StageClock(2)
    with clock.stage("one"):
        clock.busy(0.5)
    with clock.stage("two"):
        pass
    clock.write(tmp_path / "stages.json")
    read = CycleTimes.model_validate_json((tmp_path / "stages.json").read_text())
    assert [(s.stage, s.busy_s) for s in read.stages] == [("one", 0.5), ("two", 0.0)]
    assert read.cycle == 2
