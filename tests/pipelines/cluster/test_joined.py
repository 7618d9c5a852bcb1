"""Nodes of a real cluster are asked for a run's files, and an endpoint's actors end with a driver that is killed."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from ray.cluster_utils import Cluster

from actors.errors import SalusError
from pipelines.cluster.join import join
from pipelines.cluster.nodes import NodeProbe
from tests.ray_cluster import ray_cluster

pytestmark = [pytest.mark.ray, pytest.mark.slow]

# As an endpoint leaves its record, feedback writer and guard.
DRIVER = """
import sys, time
import ray
from pipelines.cluster.session import joined_ray
from pipelines.config.cluster import ClusterConfig

@ray.remote(num_cpus=0)
class Kept:
    def up(self):
        return True

with joined_ray(ClusterConfig(address=sys.argv[1]), "killed", serving=True):
    kept = Kept.options(name="record", lifetime="detached").remote()
    ray.get(kept.up.remote())
    print("up", flush=True)
    time.sleep(600)
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with ray_cluster(cpus=2) as started:
        started.add_node(num_cpus=1, object_store_memory=10**8)
        yield started


def test_every_node_is_asked_once(cluster: Cluster, tmp_path: Path) -> None:
    join(cluster.address, "probe")
    try:
        run = tmp_path / "run"
        run.mkdir()
        probe = NodeProbe(run, [tmp_path], cluster.address, wait_s=60)
        probe.check()
        assert list(run.iterdir()) == []
        # No node is new, so none is asked for what is gone.
        run.rmdir()
        probe.check()
        gone = NodeProbe(tmp_path, [tmp_path / "model"], cluster.address, wait_s=60)
        with pytest.raises(SalusError, match=r"^Node \S+ of the cluster does not share .*/model: there is no such"):
            gone.check()
    finally:
        ray.shutdown()


def test_nothing_of_an_endpoint_outlives_a_killed_driver(cluster: Cluster) -> None:
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, cluster.address], stdout=subprocess.PIPE, text=True)
    try:
        assert driver.stdout is not None and driver.stdout.readline() == "up\n"
    finally:
        driver.send_signal(signal.SIGKILL)
        driver.wait()
    join(cluster.address, "killed")
    try:
        deadline = time.monotonic() + 60
        while left := ray.util.list_named_actors():
            assert time.monotonic() < deadline, left
            time.sleep(0.5)
    finally:
        ray.shutdown()
