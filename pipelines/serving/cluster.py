"""The Ray an endpoint lives in: an embedded one that ends with it, or a cluster that was there before."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import ray

from actors.serve_proxy import proxy_environment, remove_proxy_files
from pipelines.cluster import join
from pipelines.ray_token import FormerToken, restore_token
from pipelines.serving.settings import ServeSettings
from pipelines.session import start_embedded


@contextmanager
def serving_cluster(settings: ServeSettings, namespace: str, cpus: float) -> Iterator[None]:
    """Ray is up inside.

    Raises:
        SalusError: the cluster cannot be reached.
    """
    environment = proxy_environment(settings.publish) if settings.cluster.address is None else {}
    former: FormerToken = {}
    try:
        if settings.cluster.address is None:
            # One slot more than the replicas take: the task that builds the application.
            former = start_embedded(settings.cluster, namespace, math.ceil(cpus) + 1, environment)
        else:
            join(settings.cluster.address, namespace)
        yield
    finally:
        ray.shutdown()
        restore_token(former)
        remove_proxy_files(environment)
