"""The one Ray that all cells of a study join: an embedded one that ends with the study, or one that was there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import ray

from pipelines.cluster.session import embedded_ray
from pipelines.config.cluster import ClusterConfig


@contextmanager
def study_cluster(cluster: ClusterConfig, namespace: str, cpus: float) -> Iterator[str]:
    """The address that cells join, valid inside.

    Args:
        cluster: where Ray runs; without an address it is started here.
        namespace: of this process in a Ray that it starts.
        cpus: slots of a Ray that is started here.
    """
    if cluster.joined is not None:
        yield cluster.joined
        return
    with embedded_ray(cluster, namespace, cpus):
        yield str(ray.get_runtime_context().gcs_address)
