"""Pools by turns on real Ray with one pretended GPU, and stand-in engines that take it whole."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import ray

from actors.contract.records import PolicyRef
from actors.contract.span import Span
from actors.engine.port import Sampling
from actors.files.shards import write_table
from actors.generator import RolloutTask
from actors.judges.judge import JudgmentTask
from pipelines.cluster.pools import Pools
from pipelines.cluster.session import embedded_ray
from pipelines.cluster.stream import ShardTask, StreamReport, stream
from pipelines.cluster.turns import pools as turns
from pipelines.cluster.turns.division import divided
from pipelines.cluster.turns.pools import TurnPools, open_pools
from pipelines.config.cluster import ClusterConfig
from pipelines.config.load import load_recipe
from pipelines.config.recipe import Recipe
from tests.gone import wait_until_gone

pytestmark = pytest.mark.ray
POLICY = PolicyRef(version="p", path="/p")


@ray.remote(num_cpus=0, num_gpus=1)
class GpuEngine:
    """Answers and judges without a model, on the one GPU."""

    def ready(self) -> None:
        """It is up."""

    def generate(self, task: RolloutTask) -> tuple[pa.Table, Span]:
        table, now = pa.table({"answer": [task.prompts]}), time.time()
        write_table(table, Path(task.output))
        return table, Span(start_s=now, end_s=now + 0.01, rows=1)

    def label(self, rollouts: pa.Table | None, task: JudgmentTask) -> Span:
        # What was generated in an earlier turn is read from disk.
        assert rollouts is None and Path(task.rollouts).is_file()
        now = time.time()
        write_table(pa.table({"label": ["Refuse"]}), Path(task.output))
        return Span(start_s=now, end_s=now + 0.01, rows=1)

    def leave(self) -> None:
        """It holds nothing beside Ray's own count."""


@ray.remote(num_cpus=0, num_gpus=1)
def trained() -> bool:
    """A trainer that takes the one GPU, once nothing else does."""
    return True


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[tuple[bool, bool]]:
    """Which pools are opened, in order; each of one engine."""
    log: list[tuple[bool, bool]] = []

    def spawn(recipe: Recipe, policy: PolicyRef, judge: PolicyRef | None, generate: bool, label: bool) -> Pools:
        log.append((generate, label))
        engine: Any = GpuEngine
        return Pools([engine.remote()] if generate else (), [engine.remote()] if label else ())

    monkeypatch.setattr(turns, "spawn", spawn)
    return log


@pytest.fixture
def one_gpu(own_ray: None) -> Iterator[Recipe]:
    recipe = divided(load_recipe("llama-3.2-3b", ["cluster.placement=by_turns", "cluster.wait_s=60"]), 1)
    with embedded_ray(ClusterConfig(logical_cpus=2, gpus=1), "salus-turns", 2):
        yield recipe


def tasks(folder: Path, cycle: int) -> list[ShardTask]:
    where = [(folder / str(cycle) / kind, f"{shard}.parquet") for shard in range(3) for kind in ("rollouts", "judged")]
    paths = [str(place / name) for place, name in where]
    return [
        ShardTask(
            rollout=RolloutTask(policy=POLICY, prompts=rollouts, output=rollouts, sampling=Sampling(), seed=0),
            judgment=JudgmentTask(rollouts=rollouts, output=judged),
        )
        for rollouts, judged in zip(paths[::2], paths[1::2], strict=True)
    ]


def test_one_gpu_samples_judges_and_trains_in_turn_over_two_cycles(
    one_gpu: Recipe, opened: list[tuple[bool, bool]], tmp_path: Path
) -> None:
    pools = open_pools(one_gpu, POLICY, None)
    assert isinstance(pools, TurnPools) and pools.labels and not pools.stay_up
    # Nothing is started before it is asked.
    assert opened == []
    for cycle in (1, 2):
        todo, report = tasks(tmp_path, cycle), StreamReport()
        for generators, judges in pools.passes():
            report.add(stream(todo, generators, judges))
        assert (len(report.generated), len(report.judged)) == (3, 3)
        assert not report.overlapped
        assert all(task.done for task in todo)
        pools.rest()
        # A trainer has the GPU, because no engine is up.
        assert ray.get(trained.remote(), timeout=60)
    assert opened == [(True, False), (False, True)] * 2
    pools.close()


def test_a_pool_that_is_up_is_asked_again_and_the_other_one_ends_it(
    one_gpu: Recipe, opened: list[tuple[bool, bool]]
) -> None:
    pools = open_pools(one_gpu, POLICY, None)
    (generator,) = pools.generators
    assert pools.generators == [generator]
    (judge,) = pools.judges
    assert opened == [(True, False), (False, True)]
    wait_until_gone(lambda: ray.get(generator.ready.remote(), timeout=60))
    pools.close()
    wait_until_gone(lambda: ray.get(judge.ready.remote(), timeout=60))
