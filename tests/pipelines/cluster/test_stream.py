"""The stream between the pools, on real Ray with actors that keep a timetable instead of an engine."""

from __future__ import annotations

import os
import time
import uuid
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray

from actors.contract.records import PolicyRef
from actors.contract.span import Span
from actors.engine.port import Sampling
from actors.errors import SalusError
from actors.files.shards import write_table
from actors.generator import RolloutTask
from actors.judges.judge import JudgmentTask
from pipelines.cluster.stream import REPLACEMENTS, Limits, ShardTask, stream

pytestmark = pytest.mark.ray
POLICY = PolicyRef(version="p", path="/p")


@ray.remote(num_cpus=0)
class SlowGenerator:
    """Takes a while for each shard and writes it; the last one only once `judged` holds a file, where that is given."""

    def __init__(self, seconds: float, judged: Path | None = None, last: str = "") -> None:
        self.seconds = seconds
        self.judged = judged
        self.last = last

    def generate(self, task: RolloutTask) -> tuple[pa.Table, Span]:
        if "bad" in task.prompts:
            raise SalusError("The prompts are bad; mend them.")
        start = time.time()
        time.sleep(self.seconds)
        while self.judged is not None and task.prompts == self.last and not list(self.judged.glob("*.parquet")):
            if time.time() > start + 60:
                raise SalusError("No judge has begun.")
            time.sleep(0.05)
        table = pa.table({"answer": [task.prompts] * 3})
        write_table(table, Path(task.output))
        return table, Span(start_s=start, end_s=time.time(), rows=3)


@ray.remote(num_cpus=0)
class SlowJudge:
    """Takes a while for each shard."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def label(self, rollouts: pa.Table | None, task: JudgmentTask) -> Span:
        start = time.time()
        time.sleep(self.seconds)
        write_table(rollouts if rollouts is not None else pa.table({"answer": ["disk"]}), Path(task.output))
        return Span(start_s=start, end_s=time.time(), rows=3)


@ray.remote(num_cpus=0)
class JudgeAfterALoss:
    """Is told, as Ray tells it, that the rollouts it is handed were lost with their node; reads them where they lie."""

    def label(self, rollouts: pa.Table | None, task: JudgmentTask) -> Span:
        if rollouts is not None:
            raise ray.exceptions.ObjectReconstructionFailedError("00" * 28, "", "")
        now = time.time()
        table = pq.read_table(task.rollouts)
        write_table(table, Path(task.output))
        return Span(start_s=now, end_s=now, rows=table.num_rows)


@ray.remote(num_cpus=0, max_restarts=3, max_task_retries=3)
class StuckJudge:
    """Never comes back from its first shards: as many processes of it as are told."""

    def __init__(self, marks: Path, stuck: int) -> None:
        self.marks = marks
        self.stuck = stuck

    def label(self, rollouts: pa.Table | None, task: JudgmentTask) -> Span:
        if len(list(self.marks.iterdir())) < self.stuck:
            (self.marks / uuid.uuid4().hex).touch()
            time.sleep(600)
        now = time.time()
        write_table(pa.table({"answer": ["late"]}), Path(task.output))
        return Span(start_s=now, end_s=now, rows=1)


def tasks(folder: Path, count: int, name: str = "good") -> list[ShardTask]:
    return [
        ShardTask(
            rollout=RolloutTask(
                policy=POLICY,
                prompts=f"{name} {i}",
                output=str(folder / "rollouts" / f"{i}.parquet"),
                sampling=Sampling(),
                seed=0,
            ),
            judgment=JudgmentTask(
                rollouts=str(folder / "rollouts" / f"{i}.parquet"), output=str(folder / "judged" / f"{i}.parquet")
            ),
        )
        for i in range(count)
    ]


def pool(actor: Any, count: int, seconds: float) -> list[Any]:
    return [actor.remote(seconds) for _ in range(count)]


def stuck(marks: Path, processes: int) -> list[Any]:
    judge: Any = StuckJudge
    return [judge.remote(marks, processes)]


def test_judging_starts_while_generation_runs(ray_session: None, tmp_path: Path) -> None:
    seen: list[tuple[str, object]] = []
    (tmp_path / "judged").mkdir()
    generator: Any = SlowGenerator
    report = stream(
        tasks(tmp_path, 6),
        [generator.remote(0.2, tmp_path / "judged", "good 5") for _ in range(2)],
        pool(SlowJudge, 1, 0.05),
        lambda rows: seen.append(("generated", rows)),
        lambda rows: seen.append(("judged", rows)),
    )
    assert report.overlapped
    assert len(report.generated) == len(report.judged) == 6
    assert {span.worker for span in report.generated} == {0, 1}
    assert {(work.kind, work.worker) for work in report.work} == {
        ("generator", "0"), ("generator", "1"), ("judge", "0")
    }  # fmt: skip
    assert seen.count(("judged", 3)) == 6
    assert len(list((tmp_path / "judged").iterdir())) == 6


def test_a_slow_judge_slows_generation_down(ray_session: None, tmp_path: Path) -> None:
    report = stream(tasks(tmp_path, 12), pool(SlowGenerator, 3, 0.01), pool(SlowJudge, 1, 0.15))
    # What waits for a judge is bounded by its queue and what the generators had begun, whatever the split's size.
    assert report.most_unjudged <= 2 + 3 * 2
    assert len(report.judged) == 12


def test_shards_on_disk_are_not_done_again(ray_session: None, tmp_path: Path) -> None:
    generators, judges = pool(SlowGenerator, 1, 0.01), pool(SlowJudge, 1, 0.01)
    stream(tasks(tmp_path, 2), generators, judges)
    report = stream(tasks(tmp_path, 5), generators, judges)
    assert len(report.generated) == len(report.judged) == 3


def test_each_pool_works_alone(ray_session: None, tmp_path: Path) -> None:
    generators, judges = pool(SlowGenerator, 1, 0.01), pool(SlowJudge, 1, 0.01)
    only_generated = stream(tasks(tmp_path, 3), generators, ())
    assert (len(only_generated.generated), len(only_generated.judged)) == (3, 0)
    only_judged = stream(tasks(tmp_path, 3), (), judges)
    assert (len(only_judged.generated), len(only_judged.judged)) == (0, 3)


def test_an_actors_sentence_reaches_the_caller(ray_session: None, tmp_path: Path) -> None:
    with pytest.raises(SalusError, match="The prompts are bad; mend them"):
        stream(tasks(tmp_path, 3, "bad"), pool(SlowGenerator, 1, 0.01), pool(SlowJudge, 1, 0.01))


def test_rollouts_that_were_lost_with_a_node_are_read_from_disk(ray_session: None, tmp_path: Path) -> None:
    judge: Any = JudgeAfterALoss
    report = stream(tasks(tmp_path, 4), pool(SlowGenerator, 2, 0.01), [judge.remote()])
    assert (len(report.generated), len(report.judged)) == (4, 4)


def test_a_judge_that_does_not_answer_is_replaced(ray_session: None, tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()
    judges = stuck(marks, 1)
    report = stream(tasks(tmp_path, 3), pool(SlowGenerator, 1, 0.01), judges, limits=Limits(judge_s=3.0))
    assert len(report.judged) == 3
    assert len(list(marks.iterdir())) == 1


@pytest.mark.slow
def test_a_judge_whose_successors_do_not_answer_either_is_a_sentence(ray_session: None, tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()
    with pytest.raises(SalusError, match=r"A judge did not finish a shard within 2 s.*raise judge\.shard_timeout_s"):
        stream(
            tasks(tmp_path, 1),
            pool(SlowGenerator, 1, 0.01),
            stuck(marks, 9),
            limits=Limits(judge_s=2.0),
        )
    assert len(list(marks.iterdir())) <= REPLACEMENTS + 1


@ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=2)
class DyingGenerator:
    """Its process ends with every shard; after the first, where it is told so, none can be started in its place."""

    def __init__(self, mark: Path, starts_anew: bool) -> None:
        if mark.exists() and not starts_anew:
            raise SalusError("There is no memory for it.")
        self.mark = mark

    def generate(self, task: RolloutTask) -> tuple[pa.Table, Span]:
        self.mark.touch()
        os._exit(1)


@pytest.mark.parametrize(
    ("starts_anew", "said"),
    [(True, "died each time it worked on one shard"), (False, "not be started anew: There is no memory for it.")],
)
def test_an_actor_that_cannot_live_is_a_sentence(
    ray_session: None, tmp_path: Path, starts_anew: bool, said: str
) -> None:
    generator: Any = DyingGenerator
    with pytest.raises(SalusError, match=f"A generator .*{said}"):
        stream(tasks(tmp_path, 1), [generator.remote(tmp_path / "mark", starts_anew)], [])
