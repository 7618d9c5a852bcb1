"""The Ray an endpoint lives in: an embedded one that ends with it, or a cluster that was there before."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

from pipelines.cluster.session import embedded_ray, joined_ray
from pipelines.serving.settings import ServeSettings


@contextmanager
def serving_cluster(settings: ServeSettings, namespace: str, cpus: float) -> Iterator[None]:
    """Ray is up inside.

    Raises:
        SalusError: the cluster cannot be reached, or there is no private folder for an embedded one.
    """
    address = settings.cluster.address
    if address is not None:
        with joined_ray(address, namespace):
            yield
    else:
        # One slot more than the replicas take: the task that builds the application.
        with embedded_ray(settings.cluster, namespace, math.ceil(cpus) + 1, settings.publish):
            yield
