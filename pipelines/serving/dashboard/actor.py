"""The data behind an endpoint's pages, as an actor: review of a run's answers, and the dashboard."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray

from actors.contract.actor_address import ActorAddress
from actors.errors import SalusError
from actors.serve.config import PublisherConfig
from actors.serve.publisher.traffic import EndpointTraffic
from pipelines.registry.store import Registry
from pipelines.serving.settings import PagesConfig

if TYPE_CHECKING:
    from pipelines.serving.dashboard.pages_data import TrafficMeter

ACTOR = "salus-pages"


def open_pages(
    pages: PagesConfig,
    registry: Registry,
    publish: PublisherConfig,
    namespace: str,
    traffic: TrafficMeter | None = None,
) -> tuple[ActorAddress, Any]:
    """Bring the actor up; it ends when its handle, the second value, is let go of. `traffic`: of several policies.

    Raises:
        SalusError: no policy is current and no run is named, or the run's folder is gone.
    """
    # Imported here: it takes what pages need, and an endpoint may have none.
    from pipelines.feedback.review.stored import open_labels
    from pipelines.runs.store.place import address_of
    from pipelines.serving.dashboard.pages_data import PagesData, PagesDataConfig

    run = (pages.run or _run_of_current(registry)).absolute()
    if not run.is_dir():
        raise SalusError(f"There is no run folder {run} for the pages; name one with --set pages.run=DIR.")
    labels = pages.labels or registry.beside("labels", "pages.labels")
    if address_of(labels) is None:
        labels = labels.absolute()
    # An address that is wrong is told before the actor meets it.
    open_labels(labels).standing()
    address = ActorAddress(actor=ACTOR, namespace=namespace)
    actor: Any = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=2)(PagesData)
    return address, actor.options(name=ACTOR, namespace=namespace, max_concurrency=32).remote(
        run,
        labels,
        registry.root,
        traffic or EndpointTraffic(publish, namespace),
        PagesDataConfig(reviewers=pages.reviewers),
    )


def _run_of_current(registry: Registry) -> Path:
    version = registry.history.current()
    if version is None:
        raise SalusError(f"No policy of {registry.root} is current, so pages have no run; set pages.run.")
    return Path(registry.find(version).origin.run)
