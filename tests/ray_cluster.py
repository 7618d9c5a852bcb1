"""A Ray cluster on this machine that outlives the drivers that join it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import ray
from ray.cluster_utils import Cluster

from pipelines.cluster.join import fresh_token


@contextmanager
def ray_cluster(cpus: int) -> Iterator[Cluster]:
    """A head node of so many CPUs and no GPU; this process is in no Ray when it is entered."""
    ray.shutdown()
    head = {"num_cpus": cpus, "num_gpus": 0, "object_store_memory": 2 * 10**8, "include_dashboard": False}
    with fresh_token():
        cluster = Cluster(initialize_head=True, head_node_args=head)
        try:
            yield cluster
        finally:
            cluster.shutdown()
