"""The Ray an endpoint lives in: an embedded one that ends with it, or a cluster that was there before."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from actors.files.job_copy import check_kept
from pipelines.cluster.session import embedded_ray, joined_ray
from pipelines.runs.store.place import address_of
from pipelines.serving.settings import ServeSettings


def check_serving_places(settings: ServeSettings, registry: Path) -> None:
    """Look at every place that an endpoint writes to.

    Raises:
        SalusError: Ray deletes one of them after its job.
    """
    places: dict[str, Path | None] = {
        "The registry": registry,
        "publish.feedback.folder": settings.publish.feedback.folder,
        "pages.labels": settings.pages.labels if settings.pages is not None else None,
        "shadow.folder": settings.shadow.folder if settings.shadow is not None else None,
    } | {f"policies.{name}.registry": policy.registry for name, policy in settings.policies.items()}
    for what, place in places.items():
        if place is not None and address_of(place) is None:
            check_kept(place, what)


@contextmanager
def serving_cluster(settings: ServeSettings, namespace: str, cpus: float) -> Iterator[None]:
    """Ray is up inside.

    Raises:
        SalusError: the cluster cannot be reached, or there is no private folder for an embedded one.
    """
    if settings.cluster.joined is not None:
        with joined_ray(settings.cluster, namespace, serving=True):
            yield
    else:
        # One slot more than the replicas take: the task that builds the application.
        with embedded_ray(settings.cluster, namespace, math.ceil(cpus) + 1, settings.publish):
            yield
