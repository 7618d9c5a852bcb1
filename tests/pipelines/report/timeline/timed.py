"""Runs on disk with times as a run's driver would leave them: two generators, one judge, two trainers, an endpoint."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from actors.contract.run_folder import RunFolder
from actors.files.shards import write_text
from pipelines.cluster.times import CycleTimes, StageTime, Work, WorkerKind
from pipelines.runs.stage_log import LoggedStage, StageLog

# Seconds since the epoch at which the runs begin.
BEGAN_S = 1_790_000_000.0
START_UP_S, CYCLE_S, FINAL_S = 30.0, 62.0, 20.0


def work(kind: WorkerKind, worker: str, *spans: tuple[float, float]) -> list[Work]:
    return [Work(kind=kind, worker=worker, start_s=start, end_s=end) for start, end in spans]


def stage(name: str, start_s: float, wall_s: float, *works: list[Work], busy_s: float = 0.0) -> StageTime:
    flat = tuple(one for of in works for one in of)
    busy: dict[WorkerKind, float] = {
        kind: sum(one.end_s - one.start_s for one in flat if one.kind == kind and one.worker in ("0", "dpo"))
        for kind in ("generator", "judge", "trainer")
    }
    return StageTime(
        stage=name,
        wall_s=wall_s,
        busy_s=busy_s,
        start_s=start_s,
        work=flat,
        idle_s={kind: wall_s - seconds for kind, seconds in busy.items()},
    )


def cycle(number: int, start_s: float) -> CycleTimes:
    """62 s: 20 of rollout, 2 of preference, 30 of training, 8 of evaluation, 2 of the decision."""
    t = start_s
    stages = (
        stage(
            "rollout",
            t,
            20,
            work("generator", "0", (t, t + 9), (t + 9, t + 18)),
            work("generator", "1", (t, t + 10), (t + 10, t + 17)),
            work("judge", "0", (t + 10, t + 12), (t + 18, t + 20)),
            busy_s=20,
        ),
        stage("preference", t + 20, 2),
        stage(
            "train",
            t + 22,
            30,
            work("trainer", "kto", (t + 24, t + 44)),
            work("trainer", "dpo", (t + 25, t + 51)),
            busy_s=27,
        ),
        stage("evaluate", t + 52, 8, work("generator", "0", (t + 52, t + 58)), busy_s=6),
        stage("decide", t + 60, 2),
    )
    return CycleTimes(cycle=number, stages=stages, judged_while_generating=True)


def publication(number: int, version: str, previous: str | None, ended_s: float, took_s: float) -> str:
    ended, began = (datetime.fromtimestamp(at, UTC).isoformat() for at in (ended_s, ended_s - took_s))
    before = "null" if previous is None else f'"{previous}"'
    return (
        f'{{"version":"{version}","path":"/p","cycle":{number},"published_at":"{ended}","began_at":"{began}",'
        f'"swap_s":0.2,"replicas":1,"previous":{before}}}\n'
    )


def timed_run(root: Path, cycles: int = 2) -> RunFolder:
    """A finished run: start-up, its cycles, the final test."""
    folder = RunFolder(root)
    write_text("name: demo\n", folder.recipe)
    log = StageLog(folder)
    log.keep([LoggedStage(time=stage("start-up", BEGAN_S, START_UP_S))])
    lines = publication(0, "c0-base", None, BEGAN_S + START_UP_S + 5, 20)
    at_s = BEGAN_S + START_UP_S
    for number in range(1, cycles + 1):
        write_text(cycle(number, at_s).model_dump_json(indent=2), folder.stages(number))
        at_s += CYCLE_S
        lines += publication(number, f"c{number}-dpo", "before", at_s - 0.5, 0.25)
    write_text(lines, folder.publications)
    final = stage("final test", at_s, FINAL_S, work("generator", "0", (at_s, at_s + 15)), busy_s=15)
    log.keep([LoggedStage(time=final)])
    return folder


def without_starts(folder: RunFolder, cycle_number: int) -> None:
    """A cycle's times as versions before wrote them."""
    times = CycleTimes.model_validate_json(folder.stages(cycle_number).read_text(encoding="utf-8"))
    kept = [{"stage": s.stage, "wall_s": s.wall_s, "busy_s": s.busy_s} for s in times.stages]
    write_text(json.dumps({"cycle": cycle_number, "stages": kept}), folder.stages(cycle_number))
