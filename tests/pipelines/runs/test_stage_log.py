"""Stages outside finished cycles: kept over sessions, and what an interrupted cycle leaves."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from actors.contract.run_folder import RunFolder
from actors.errors import SalusError
from actors.files.shards import write_text
from pipelines.cluster.times import CycleTimes, Work
from pipelines.runs.stage_log import StageLog, cycle_clock, read_stage_log


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "run")


def test_every_session_adds_its_stages(folder: RunFolder) -> None:
    assert read_stage_log(folder) == []
    for _ in range(2):
        log = StageLog(folder)
        with log.stage("start-up"):
            time.sleep(0.01)
        with log.stage("final test") as stage:
            began_s = time.time()
            time.sleep(0.01)
            stage.worked([Work(kind="generator", worker="0", start_s=began_s, end_s=time.time())])
    stages = read_stage_log(folder)
    assert [logged.time.stage for logged in stages] == ["start-up", "final test"] * 2
    assert all(logged.cycle is None and logged.time.wall_s >= 0.01 for logged in stages)
    starts = [logged.time.start_s for logged in stages]
    assert starts == sorted(start for start in starts if start is not None)
    assert [len(logged.time.work) for logged in stages] == [0, 1, 0, 1]


def test_a_stage_that_fails_is_kept(folder: RunFolder) -> None:
    with pytest.raises(SalusError), StageLog(folder).stage("start-up"):
        raise SalusError("No room; free some.")
    assert [logged.time.stage for logged in read_stage_log(folder)] == ["start-up"]


def test_a_finished_cycle_has_a_file_of_its_own(folder: RunFolder) -> None:
    with cycle_clock(folder, 3) as clock, clock.stage("rollout"):
        pass
    times = CycleTimes.model_validate_json(folder.stages(3).read_text(encoding="utf-8"))
    assert (times.cycle, [stage.stage for stage in times.stages]) == (3, ["rollout"])
    assert read_stage_log(folder) == []
    assert folder.timed_cycles() == [3]


def test_what_an_interrupted_cycle_spent_is_not_lost(folder: RunFolder) -> None:
    def begin(interrupted: bool) -> None:
        with cycle_clock(folder, 2) as clock:
            with clock.stage("rollout"):
                pass
            with clock.stage("train"):
                if interrupted:
                    raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        begin(interrupted=True)
    assert not folder.stages(2).exists()
    begin(interrupted=False)
    assert [(logged.cycle, logged.time.stage) for logged in read_stage_log(folder)] == [(2, "rollout"), (2, "train")]
    assert folder.timed_cycles() == [2]


def test_a_damaged_line_is_named(folder: RunFolder) -> None:
    with StageLog(folder).stage("start-up"):
        pass
    write_text(folder.stage_log.read_text(encoding="utf-8") + '{"time": {"stage": "x"}}\n', folder.stage_log)
    with pytest.raises(SalusError, match=r"stages\.jsonl, line 2 is not the time of a stage"):
        read_stage_log(folder)
