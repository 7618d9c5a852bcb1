"""The office behind an endpoint's pages, as an actor: review of a run's answers, and the dashboard."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from pydantic import Field

from actors.contract.actor_address import ActorAddress
from actors.errors import SalusError
from actors.serve.config import PublisherConfig
from actors.serve.publisher.traffic import EndpointTraffic
from pipelines.config.sections import Section
from pipelines.registry.store import Registry

if TYPE_CHECKING:
    from pipelines.serving.dashboard.office import TrafficMeter

ACTOR = "salus-office"


class PagesConfig(Section):
    """The pages /review and /dashboard."""

    run: Path | None = Field(
        None, description="the run folder whose answers are reviewed; None: that of the registry's current policy"
    )
    policy: str | None = Field(None, description="of several policies, the one whose pages these are; None: the first")
    labels: Path | None = Field(None, description="where people's labels are kept; None: labels/ of the registry")


def open_office(
    pages: PagesConfig,
    registry: Registry,
    publish: PublisherConfig,
    namespace: str,
    traffic: TrafficMeter | None = None,
) -> tuple[ActorAddress, Any]:
    """Bring the office up; it ends when its handle, the second value, is let go of. `traffic`: of several policies.

    Raises:
        SalusError: no policy is current and no run is named, or the run's folder is gone.
    """
    # Imported here: it takes what pages need, and an endpoint may have none.
    from pipelines.serving.dashboard.office import Office

    run = (pages.run or _run_of_current(registry)).absolute()
    if not run.is_dir():
        raise SalusError(f"There is no run folder {run} for the pages; name one with --set pages.run=DIR.")
    labels = (pages.labels or registry.root / "labels").absolute()
    address = ActorAddress(actor=ACTOR, namespace=namespace)
    actor: Any = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=2)(Office)
    return address, actor.options(name=ACTOR, namespace=namespace, max_concurrency=32).remote(
        run, labels, registry.root, traffic or EndpointTraffic(publish, namespace)
    )


def _run_of_current(registry: Registry) -> Path:
    version = registry.history.current()
    if version is None:
        raise SalusError(f"No policy of {registry.root} is current, so pages have no run; set pages.run.")
    return Path(registry.find(version).origin.run)
