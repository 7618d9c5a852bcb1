"""A timeline as trace, picture and table."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from matplotlib.image import imread
from rich.console import Console

from actors.contract.run_folder import RunFolder
from actors.files.shards import write_text
from pipelines.report.timeline.picture import draw_timeline
from pipelines.report.timeline.read import LANE_KINDS, Stretch, Timeline, TimelineLane, read_timeline, timeline_table
from pipelines.report.timeline.trace import PROCESS, trace
from pipelines.runs.stage_log import LoggedStage, StageLog
from tests.pipelines.report.timeline.timed import (
    BEGAN_S,
    CYCLE_S,
    FINAL_S,
    START_UP_S,
    stage,
    timed_run,
    without_starts,
)

DPI = 150


def events(timeline: Timeline, ph: str) -> list[dict[str, Any]]:
    # Through JSON, as a viewer gets it.
    return [event for event in json.loads(json.dumps(trace(timeline)))["traceEvents"] if event["ph"] == ph]


def printed(timeline: Timeline) -> list[str]:
    console = Console(width=80, file=io.StringIO(), record=True)
    console.print(timeline_table(timeline))
    return console.export_text().splitlines()


def cells(lines: list[str], name: str) -> list[str]:
    (line,) = (line for line in lines if line.strip().startswith(name))
    return line.strip().removeprefix(name).split()


def test_complete_events_have_all_that_the_format_asks_for(tmp_path: Path) -> None:
    timeline = read_timeline(timed_run(tmp_path / "run", cycles=3))
    found = events(timeline, "X")
    assert len(found) == sum(len(lane.bars) for lane in timeline.lanes)
    for event in found:
        assert {"name", "ph", "ts", "dur", "pid", "tid"} <= event.keys()
        assert isinstance(event["ts"], int) and isinstance(event["dur"], int)
        assert event["ts"] >= 0 and event["dur"] >= 0
    assert min(event["ts"] for event in found) == 0
    length_s = START_UP_S + 3 * CYCLE_S + FINAL_S
    assert max(event["ts"] + event["dur"] for event in found) == round(length_s * 1e6)


def test_no_events_of_one_lane_overlap(tmp_path: Path) -> None:
    timeline = read_timeline(timed_run(tmp_path / "run", cycles=3))
    lanes: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for event in events(timeline, "X"):
        lanes.setdefault((event["pid"], event["tid"]), []).append((event["ts"], event["ts"] + event["dur"]))
    assert len(lanes) == len(timeline.lanes)
    for spans in lanes.values():
        assert all(end <= start for (_, end), (start, _) in pairwise(sorted(spans)))


def test_processes_and_threads_are_named(tmp_path: Path) -> None:
    timeline = read_timeline(timed_run(tmp_path / "run"))
    names = events(timeline, "M")
    processes = {event["pid"]: event["args"]["name"] for event in names if event["name"] == "process_name"}
    threads = {(event["pid"], event["tid"]): event["args"]["name"] for event in names if event["name"] == "thread_name"}
    assert list(processes.values()) == [PROCESS[kind] for kind in LANE_KINDS]
    assert list(threads.values()) == [lane.title for lane in timeline.lanes]
    assert {(event["pid"], event["tid"]) for event in events(timeline, "X")} == threads.keys()
    assert trace(timeline)["otherData"] == {"run": "run", "start_s": BEGAN_S}


@pytest.mark.parametrize("cycles", [1, 20, 100])
def test_the_picture_is_a_png_of_sensible_size(tmp_path: Path, cycles: int) -> None:
    timeline = read_timeline(timed_run(tmp_path / "run", cycles))
    path = draw_timeline(timeline, tmp_path / "timeline.png")
    assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    height, width = imread(path).shape[:2]
    assert 10 * DPI <= width <= 22 * DPI
    assert 2 * DPI <= height <= 14 * DPI


def test_a_thousand_engines_fit_one_picture(tmp_path: Path) -> None:
    lanes = tuple(TimelineLane("generator", str(i), (Stretch("rollout", i / 10, 10 + i / 10, 1),)) for i in range(1000))
    timeline = replace(read_timeline(timed_run(tmp_path / "run", 1)), lanes=lanes)
    height = imread(draw_timeline(timeline, tmp_path / "timeline.png")).shape[0]
    assert height <= 14 * DPI


def test_names_from_files_begin_no_formula_and_no_markup(tmp_path: Path) -> None:
    folder = timed_run(tmp_path / "a$b_$[red]")
    odd = stage("[bold]odd$ _$", BEGAN_S + 1000, 5)
    StageLog(folder).keep([LoggedStage(time=odd)])
    timeline = read_timeline(folder)
    assert draw_timeline(timeline, tmp_path / "timeline.png").is_file()
    lines = printed(timeline)
    assert any("a$b_$[red]: where its time went" in line for line in lines)
    assert cells(lines, "[bold]odd$ _$")[0] == "5.0"


def test_the_table_sums_stages_over_cycles(tmp_path: Path) -> None:
    lines = printed(read_timeline(timed_run(tmp_path / "run", cycles=2)))
    assert max(map(len, lines)) <= 80
    header = next(line for line in lines if "stage" in line).split()
    assert header[:9] == ["stage", "wall", "s", "busy", "s", "idle", "s", "share", "idle"]
    # Wall, busy, idle, share; no generator, judge, trainer at work.
    assert cells(lines, "train ") == ["60.0", "54.0", "6.0", "34.5%", "60.0", "60.0", "8.0"]
    assert cells(lines, "final test") == ["20.0", "15.0", "5.0", "11.5%", "5.0", "20.0", "20.0"]
    assert cells(lines, "all") == ["174.0", "121.0", "53.0", "100.0%", "111.0", "166.0", "122.0"]
    stages = [line.split()[0] for line in lines if line.endswith(" ") and "%" in line]
    assert stages == ["start-up", "rollout", "preference", "train", "evaluate", "decide", "final", "all"]


def test_what_an_earlier_version_did_not_record_is_not_made_up(tmp_path: Path) -> None:
    folder = timed_run(tmp_path / "run", cycles=2)
    without_starts(folder, 1)
    lines = printed(read_timeline(folder))
    assert cells(lines, "train ") == ["60.0", "54.0", "6.0", "34.5%", "-", "-", "-"]
    assert cells(lines, "final test")[-3:] == ["5.0", "20.0", "20.0"]


def test_stages_of_no_length_have_no_share(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    write_text("name: demo\n", folder.recipe)
    StageLog(folder).keep([LoggedStage(time=stage("prepare", BEGAN_S, 0))])
    timeline = read_timeline(folder)
    assert cells(printed(timeline), "prepare")[3] == "-"
    assert draw_timeline(timeline, tmp_path / "timeline.png").is_file()
