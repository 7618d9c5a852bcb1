"""The one Ray that several runs join: an embedded one that ends with them, or one that was there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import ray

from pipelines.cluster.session import embedded_ray, joined_ray
from pipelines.config.cluster import ClusterConfig


@contextmanager
def shared_ray(cluster: ClusterConfig, namespace: str, cpus: float) -> Iterator[str]:
    """The address that the runs join, valid inside, where this process is a driver of that Ray too.

    Args:
        cluster: where Ray runs; without an address it is started here.
        namespace: of this process in it.
        cpus: slots of a Ray that is started here.

    Raises:
        SalusError: the cluster cannot be reached.
    """
    if cluster.joined is not None:
        # Each run that joins starts its own endpoint.
        with joined_ray(cluster, namespace, serving=False):
            yield cluster.joined
        return
    with embedded_ray(cluster, namespace, cpus):
        yield str(ray.get_runtime_context().gcs_address)
