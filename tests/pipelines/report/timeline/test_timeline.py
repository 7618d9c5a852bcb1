"""Times on disk -> lanes: order, publications, sessions with a pause, versions without a beginning."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from actors.contract.run_folder import RunFolder
from actors.errors import SalusError
from actors.files.shards import write_text
from pipelines.cluster.times import StageTime
from pipelines.report.timeline.picture import CUT, Elapsed
from pipelines.report.timeline.read import PlacedStage, Stretch, lanes_of, read_timeline
from pipelines.runs.stage_log import LoggedStage, StageLog
from tests.pipelines.report.timeline.timed import (
    BEGAN_S,
    CYCLE_S,
    FINAL_S,
    START_UP_S,
    stage,
    timed_run,
    without_starts,
    work,
)


def test_a_lane_for_each_worker(tmp_path: Path) -> None:
    timeline = read_timeline(timed_run(tmp_path / "run"))
    assert [lane.title for lane in timeline.lanes] == [
        "cycles", "stages", "generator 0", "generator 1", "judge 0", "trainer dpo", "trainer kto", "endpoint"
    ]  # fmt: skip
    lanes = {lane.title: lane.bars for lane in timeline.lanes}
    assert [bar.cycle for bar in lanes["cycles"]] == [1, 2]
    assert [bar.name for bar in lanes["endpoint"]] == ["endpoint start", "publication", "publication"]
    assert lanes["generator 0"][0] == Stretch("rollout", BEGAN_S + START_UP_S, BEGAN_S + START_UP_S + 9, 1)
    assert lanes["generator 0"][-1].name == "final test"
    names = [placed.time.stage for placed in timeline.stages]
    assert names == ["start-up", *["rollout", "preference", "train", "evaluate", "decide"] * 2, "final test"]
    assert (timeline.start_s, timeline.unplaced) == (BEGAN_S, 0)


def test_ten_engines_are_in_order_of_their_number() -> None:
    of = stage("rollout", 0, 9, *(work("judge", str(i), (0, 1)) for i in (10, 2, 0)))
    lanes = lanes_of([PlacedStage(of, 0, 1)], ())
    assert [lane.worker for lane in lanes if lane.kind == "judge"] == ["0", "2", "10"]


def test_bars_of_a_lane_are_apart_though_clocks_differ() -> None:
    stages = [PlacedStage(stage("a", 10, 1.00002), 10), PlacedStage(stage("b", 11, 1), 11)]
    (bars,) = (lane.bars for lane in lanes_of(stages, ()))
    assert [bar.end_s for bar in bars] == pytest.approx([11.00002, 12])
    assert bars[1].start_s == bars[0].end_s


def test_publications_of_earlier_versions_end_when_they_were_logged(tmp_path: Path) -> None:
    folder = timed_run(tmp_path / "run", cycles=1)
    text = re.sub(r'"began_at":"[^"]*",', "", folder.publications.read_text(encoding="utf-8"))
    write_text(text, folder.publications)
    (bars,) = (lane.bars for lane in read_timeline(folder).lanes if lane.kind == "endpoint")
    assert [bar.end_s - bar.start_s for bar in bars] == pytest.approx([0.2, 0.2], abs=1e-6)


def test_cycles_of_an_earlier_version_come_first_end_to_end(tmp_path: Path) -> None:
    folder = timed_run(tmp_path / "run")
    without_starts(folder, 1)
    folder.stage_log.unlink()
    timeline = read_timeline(folder)
    assert timeline.unplaced == 5
    assert [placed.cycle for placed in timeline.stages] == [1] * 5 + [2] * 5
    assert timeline.stages[4].end_s == pytest.approx(timeline.stages[5].start_s)
    assert timeline.start_s == pytest.approx(BEGAN_S + START_UP_S)
    # Cycle 1 is placed by guess, so what was published in it is left out.
    endpoint = [bar for lane in timeline.lanes if lane.kind == "endpoint" for bar in lane.bars]
    assert [bar.cycle for bar in endpoint] == [2]


def test_a_run_of_an_earlier_version_alone_begins_at_zero(tmp_path: Path) -> None:
    folder = timed_run(tmp_path / "run", cycles=1)
    without_starts(folder, 1)
    folder.stage_log.unlink()
    timeline = read_timeline(folder)
    assert (timeline.start_s, timeline.unplaced) == (0, 5)
    assert [lane.title for lane in timeline.lanes] == ["cycles", "stages"]
    assert Elapsed(timeline).total_s == CYCLE_S


def test_an_interrupted_cycle_is_told_with_the_session_it_ended_in(tmp_path: Path) -> None:
    folder = timed_run(tmp_path / "run", cycles=1)
    again_s = BEGAN_S + 86_400
    StageLog(folder).keep(
        [
            LoggedStage(cycle=2, time=stage("rollout", BEGAN_S + START_UP_S + CYCLE_S + FINAL_S, 7)),
            LoggedStage(time=stage("start-up", again_s, 30)),
            LoggedStage(cycle=2, time=stage("rollout", again_s + 30, 13)),
        ]
    )
    timeline = read_timeline(folder)
    cycles = next(lane for lane in timeline.lanes if lane.counts_cycles)
    assert [(bar.cycle, bar.end_s - bar.start_s) for bar in cycles.bars] == [(1, CYCLE_S), (2, 7), (2, 13)]
    # The day between the sessions is cut out of the picture's axis.
    elapsed = Elapsed(timeline)
    worked_s = START_UP_S + CYCLE_S + FINAL_S + 7 + 43
    assert elapsed.total_s == pytest.approx(worked_s * (1 + CUT))
    assert len(elapsed.pauses_s) == 1
    assert elapsed.at([BEGAN_S, BEGAN_S + 5, again_s + 43]).tolist() == pytest.approx([0, 5, elapsed.total_s])


def test_what_is_no_run_and_what_has_no_times_is_refused(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(SalusError, match=r"is not a run folder: it has no recipe\.yaml"):
        read_timeline(folder)
    write_text("name: demo\n", folder.recipe)
    with pytest.raises(SalusError, match="holds no times yet"):
        read_timeline(folder)


@pytest.mark.parametrize(
    "text", ["{}", "no json", '{"cycle":1,"stages":[{"stage":"a","wall_s":NaN,"busy_s":0}]}', '{"cycle":1,"stag']
)
def test_damaged_times_are_named(tmp_path: Path, text: str) -> None:
    folder = timed_run(tmp_path / "run")
    write_text(text, folder.stages(2))
    with pytest.raises(SalusError, match=r"cycles/02/stages\.json is not a record of a cycle's times"):
        read_timeline(folder)


def test_a_damaged_publication_is_named(tmp_path: Path) -> None:
    folder = timed_run(tmp_path / "run")
    write_text('{"version":"c0"}\n', folder.publications)
    with pytest.raises(SalusError, match=r"publications\.jsonl, line 1 is not a publication"):
        read_timeline(folder)


def test_a_stage_of_no_length_can_be_drawn() -> None:
    nothing = StageTime(stage="a", wall_s=0, busy_s=0)
    (lane,) = lanes_of([PlacedStage(nothing, 5.0)], ())
    assert lane.bars == (Stretch("a", 5.0, 5.0),)
