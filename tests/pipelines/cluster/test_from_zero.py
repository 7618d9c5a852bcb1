"""A cluster whose GPU nodes start from none: pools bring them, and give them back when they close."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import ray

from actors.contract.growth import boot_s, may_have
from actors.contract.span import Span
from actors.errors import SalusError
from pipelines.cluster.demand import PlanRow
from pipelines.cluster.nodes import NodeProbe, NodeWatch
from pipelines.cluster.plan import available, check, plan_of
from pipelines.cluster.pools import Pools
from pipelines.cluster.session import joined_ray
from pipelines.cluster.times import NodeUse, StageTime, engine_work
from pipelines.cluster.turns.cost import busy_gpu_s
from pipelines.config.load import load_recipe
from tests.growing_cluster import NODE_GPUS, growing_cluster

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]

NODES = 2
# Long beside a node's start and the seconds after which an idle one goes, as a stage's work is.
WORK_S = 120.0


class StandIn:
    """An engine that takes a GPU for a while, and computes nothing on it."""

    def ready(self) -> bool:
        return True

    def work(self) -> Span:
        began = time.time()
        time.sleep(WORK_S)
        return Span(start_s=began, end_s=time.time(), rows=1)


def gpu_nodes() -> int:
    return sum(1 for node in ray.nodes() if node["Alive"] and node["Resources"].get("GPU"))


def wait_for(nodes: int, within_s: float = 90.0) -> None:
    deadline = time.monotonic() + within_s
    while gpu_nodes() != nodes:
        assert time.monotonic() < deadline, ray.nodes()
        time.sleep(0.5)


def worked(engines: Sequence[Any], gpus: int) -> StageTime:
    """A stage in which all engines worked at once, on so many GPUs each."""
    spans = [
        span.model_copy(update={"worker": place * gpus + gpu})
        for place, span in enumerate(ray.get([each.work.remote() for each in engines]))
        for gpu in range(gpus)
    ]
    return StageTime(stage="rollout", wall_s=WORK_S, busy_s=WORK_S, work=tuple(engine_work("generator", spans)))


def test_nodes_come_for_a_runs_pools_and_go_after_them(tmp_path: Path) -> None:
    gpus = NODES * NODE_GPUS
    with growing_cluster(tmp_path, NODES) as address:
        told = [f"cluster.gpus={gpus}", f"cluster.node_gpus={NODE_GPUS}", "cluster.logical_cpus=6"]
        recipe = load_recipe("llama-3.1-8b", [f"cluster.address={address}", *told, "cluster.node_boot_s=120"])
        row = PlanRow(actor="generator", count=gpus, cpus=0.5, gpus=1.0, section="generate")
        plan = plan_of(recipe, (row,))
        watch = NodeWatch(every_s=1.0)
        with joined_ray(recipe.cluster, "from-zero", serving=False), watch.watching():
            untold = load_recipe("llama-3.1-8b", [f"cluster.address={address}"])
            with pytest.raises(SalusError, match=r"needs 4 GPUs, .* has 0, .* say how far with cluster\.gpus"):
                check(plan, available(untold))
            check(plan, available(recipe))
            with pytest.raises(SalusError, match="needs 4 GPUs of one node, but the largest node"):
                check(plan_of(recipe, (row.model_copy(update={"count": 1, "gpus": 4.0}),)), available(recipe))
            assert ray.cluster_resources().get("GPU", 0.0) == 0
            # What an endpoint of this run would be held against.
            assert may_have()["GPU"] == gpus
            assert boot_s() == 120

            probe = NodeProbe(tmp_path, (), address, wait_s=60)
            probe.check()
            engine = ray.remote(num_cpus=0.5, num_gpus=1)(StandIn)
            pools = Pools(generators=[engine.remote() for _ in range(gpus)], judges=())
            # Far less than a node takes, so it is the boot that is waited for.
            pools.wait(0.1)
            probe.check()
            assert gpu_nodes() == NODES
            assert boot_s() == 0.0
            stages = [worked(pools.generators, 1)]
            pools.close()

            # The next stage wants one node, and has it already: the other one goes meanwhile.
            pools = Pools(generators=[engine.options(num_gpus=NODE_GPUS).remote()], judges=())
            pools.wait(60)
            stages.append(worked(pools.generators, NODE_GPUS))
            assert gpu_nodes() == 1
            pools.close()

            pools = Pools(generators=[engine.remote() for _ in range(gpus)], judges=())
            pools.wait(0.1)
            assert gpu_nodes() == NODES
            stages.append(worked(pools.generators, 1))
            pools.close()
            wait_for(0)
        use = NodeUse.of(watch.held, busy_gpu_s(recipe, stages))
        print(f"used {use}")
        assert use is not None and use.most == NODES
        assert use.ideal_s == pytest.approx((NODES + 1 + NODES) * WORK_S, rel=0.1)
        assert 0 < use.idle_share < 0.15
