"""Nodes of a cluster die with the actors, workers and objects they hold; the run ends as if nothing had happened."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
from ray.cluster_utils import Cluster

from actors.contract.run_folder import RunFolder
from actors.serve.proxy.environment import PATIENT
from actors.training.checkpoints import MARK
from pipelines.alignment.align import align
from pipelines.cluster.environment import ray_environment
from pipelines.config.recipe import Recipe
from pipelines.runs.checksums import check_sums
from tests.e2e.faults import results, wait_until
from tests.e2e.whole_run import Aligned
from tests.quiet_reporter import QuietReporter
from tests.ray_cluster import ray_cluster

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(1500)]

# Room for all of the run's actors; the other nodes have more, so that these are taken first.
HEAD_CPUS = 6
NODE_CPUS = 12
# Each of these takes one node: while both challengers train, and while the winner answers.
MOMENTS = (f"ray_train/checkpoints/c1-*/checkpoint-*/{MARK}", "cycles/02/rollouts/*.parquet")


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A head and two more nodes, over which Ray spreads whatever comes."""
    for name, value in (ray_environment(NODE_CPUS) | PATIENT).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("RAY_scheduler_spread_threshold", "0")
    # Every object but the smallest lies in the store of the node that made it, as those of a real run do.
    monkeypatch.setenv("RAY_max_direct_call_object_size", "1000")
    with ray_cluster(HEAD_CPUS) as started:
        for _ in MOMENTS:
            started.add_node(num_cpus=NODE_CPUS, object_store_memory=2 * 10**8)
        started.wait_for_nodes()
        yield started


@dataclass
class Loss:
    """What a node held that died."""

    actors: list[str]


class Reaper(threading.Thread):
    """Takes a node away at each of the moments."""

    def __init__(self, cluster: Cluster, root: Path) -> None:
        super().__init__(daemon=True)
        self._cluster = cluster
        self._root = root
        self.losses: list[Loss] = []

    def run(self) -> None:
        for moment in MOMENTS:
            wait_until(lambda moment=moment: any(self._root.glob(moment)))  # type: ignore[misc]
            node = max(self._cluster.worker_nodes, key=worth)
            loss = Loss(actors_on(node))
            self._cluster.remove_node(node, allow_graceful=False)
            self.losses.append(loss)


def actors_on(node: Any) -> list[str]:
    """The titles of a node's actors."""
    raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
    titles = ("".join(process.cmdline()) for process in raylet.children(recursive=True))
    return [title for title in titles if title.startswith("ray::") and "IDLE" not in title]


def worth(node: Any) -> tuple[int, int]:
    """How much a run loses with a node: trainers, and all actors."""
    actors = actors_on(node)
    return sum("RayTrainWorker" in actor for actor in actors), len(actors)


def left_reserved(cluster: Cluster) -> float:
    """CPUs that somebody still holds."""
    ray.init(address=cluster.address, log_to_driver=False)
    try:
        return float(ray.cluster_resources()["CPU"] - ray.available_resources().get("CPU", 0.0))
    finally:
        ray.shutdown()


def test_a_run_that_loses_nodes_comes_to_the_same_end(
    aligned: Aligned, recipe: Recipe, cluster: Cluster, tmp_path: Path
) -> None:
    root = tmp_path / "tiny"
    changes = {
        "cluster": recipe.cluster.model_copy(update={"address": cluster.address}),
        # A node takes workers of either run with it, twice.
        "train": recipe.train.model_copy(update={"checkpoint_every_steps": 5, "max_failures": 3}),
    }
    reaper = Reaper(cluster, root)
    reaper.start()
    began = time.monotonic()
    align(recipe.model_copy(update=changes), root, QuietReporter())
    print(f"{time.monotonic() - began:.0f} s; lost with nodes: {[loss.actors for loss in reaper.losses]}")
    assert len(reaper.losses) == len(MOMENTS)
    assert all(loss.actors for loss in reaper.losses)
    assert any("RayTrainWorker" in actor for actor in reaper.losses[0].actors)
    assert results(root) == results(aligned.folder.root)
    assert check_sums(RunFolder(root)).intact
    assert not ray.is_initialized()
    wait_until(lambda: left_reserved(cluster) == 0, seconds=60)
