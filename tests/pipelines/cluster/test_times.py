"""Stage times: unions of spans by hand, orchestration as what is left."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from actors.contract.records import PolicyRef, TrainReport
from actors.contract.span import Span
from pipelines.cluster.times import (
    CycleTimes,
    StageClock,
    StageTime,
    Stopwatch,
    Work,
    WorkerKind,
    covered,
    engine_work,
    trainer_work,
    union_s,
)


def sleeping(kind: WorkerKind, worker: str, seconds: float) -> list[Work]:
    """What a worker that just slept for so long would say."""
    start_s = time.time()
    time.sleep(seconds)
    return [Work(kind=kind, worker=worker, start_s=start_s, end_s=time.time())]


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
    clock, before_s = StageClock(2), time.time()
    with clock.stage("one") as stage:
        stage.worked(sleeping("generator", "0", 0.02))
    with clock.stage("two"):
        time.sleep(0.01)
    clock.write(tmp_path / "stages.json")
    read = CycleTimes.model_validate_json((tmp_path / "stages.json").read_text())
    assert read == clock.times()
    one, two = read.stages
    assert (read.cycle, one.stage, two.stage) == (2, "one", "two")
    assert one.start_s is not None and two.start_s is not None
    assert before_s <= one.start_s < two.start_s < time.time()
    assert 0.02 <= one.busy_s <= one.wall_s
    assert (two.busy_s, two.work) == (0, ())
    assert two.idle_s == {"generator": two.wall_s, "judge": two.wall_s, "trainer": two.wall_s}


def test_idle_time_is_told_by_kind_of_worker() -> None:
    watch = Stopwatch("rollout")
    first = sleeping("generator", "0", 0.02)
    second = sleeping("judge", "0", 0.03)
    # Two engines at once are no busier than one.
    beside = [first[0].model_copy(update={"worker": "1"})]
    watch.worked([*second, *first])
    watch.worked(beside)
    stage = watch.stop()
    assert stage.work == (*first, *beside, *second)
    assert stage.idle_s["generator"] == pytest.approx(stage.wall_s - union_s(first))
    assert stage.idle_s["judge"] == pytest.approx(stage.wall_s - union_s(second))
    assert stage.idle_s["trainer"] == stage.wall_s
    assert stage.busy_s == pytest.approx(union_s([*first, *second]))


def test_work_outside_its_stage_is_cut_off() -> None:
    now = time.time()
    watch = Stopwatch("train")
    watch.worked(
        [
            # Of an earlier session, which was interrupted after this training.
            Work(kind="trainer", worker="kto", start_s=now - 90, end_s=now - 60),
            # A worker whose clock is ahead.
            Work(kind="trainer", worker="dpo", start_s=now - 5, end_s=now + 60),
        ]
    )
    stage = watch.stop()
    assert [work.worker for work in stage.work] == ["dpo"]
    assert stage.start_s is not None and stage.work[0].start_s == stage.start_s
    assert stage.busy_s == pytest.approx(stage.wall_s, abs=1e-5)
    assert stage.idle_s["trainer"] >= 0


def test_a_stage_that_ends_with_an_error_has_a_time() -> None:
    clock = StageClock(1)
    with pytest.raises(ZeroDivisionError), clock.stage("decide"):
        raise ZeroDivisionError
    assert [stage.stage for stage in clock.times().stages] == ["decide"]


def test_times_of_earlier_versions_are_read() -> None:
    old = '{"cycle": 1, "stages": [{"stage": "rollout", "wall_s": 2.5, "busy_s": 2.0}]}'
    times = CycleTimes.model_validate_json(old)
    assert times.stages == (StageTime(stage="rollout", wall_s=2.5, busy_s=2.0),)
    assert times.stages[0].start_s is None
    assert times.orchestration_s == 0.5


def test_engines_that_read_a_shard_back_did_no_work() -> None:
    spans = [Span(start_s=1, end_s=3, rows=2, worker=4), Span(start_s=5, end_s=5, rows=2, worker=4)]
    assert engine_work("judge", spans) == [Work(kind="judge", worker="4", start_s=1, end_s=3)]


def test_a_trainer_works_while_it_trains() -> None:
    report = TrainReport(
        algorithm="dpo",
        cycle=1,
        challenger=PolicyRef(version="c1-dpo", path="/p"),
        adapter="adapter",
        rows=1,
        steps=1,
        train_s=4.0,
        wall_s=9.0,
        workers=1,
        trainable_parameters=1,
        adapter_change=0.1,
        metrics={},
    )
    assert trainer_work([report]) == []
    placed = report.model_copy(update={"train_start_s": 100.0})
    assert trainer_work([placed]) == [Work(kind="trainer", worker="dpo", start_s=100, end_s=104)]


def test_stretches_that_touch_are_one() -> None:
    assert covered([span(4, 5), span(0, 1), span(1, 2), span(0.5, 0.6)]) == [(0, 2), (4, 5)]
