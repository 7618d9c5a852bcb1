"""The application of several policies of one base model, each a LoRA adapter of its engine, behind a router."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ray.exceptions import RayError

from actors.contract.actor_address import ActorAddress
from actors.contract.records import PolicyRef
from actors.errors import reason
from actors.serve.publisher.endpoint import ServedAdapter, ServeEndpoint
from actors.serve.replica.published import PolicyInActor
from actors.serve.router.applications import application_name
from actors.serve.router.endpoint import Router, ServeRouter
from actors.serve.router.routes import Route, application_prefix

if TYPE_CHECKING:
    from actors.serve.config import PublisherConfig

logger = logging.getLogger(__name__)

_GENERATION = 1


class AdaptedModels:
    """Life: start -> stop. Its policies are the same for good: another one needs an engine that starts anew."""

    def __init__(
        self,
        config: PublisherConfig,
        namespace: str,
        adapters: Sequence[ServedAdapter],
        router: Router | None = None,
    ) -> None:
        """`config`: its `model_id` names the base model."""
        from actors.serve.publisher.publisher import Publisher

        group = config.model_id
        prefix = application_prefix(config.route, group, _GENERATION)
        self._router = router or ServeRouter(config, namespace)
        self._routes = tuple(
            Route(
                model=each.model,
                prefix=f"{prefix}/{each.model}",
                generation=_GENERATION,
                pages=each.pages is not None,
                group=group,
            )
            for each in adapters
        )
        placed = config.model_copy(update={"route": prefix, "router": True})
        name = application_name(namespace, group, _GENERATION)
        address = ActorAddress(actor=f"{ActorAddress().actor}-{group}-{_GENERATION}", namespace=namespace)
        published = PolicyInActor(address)
        endpoint = ServeEndpoint(placed, namespace, app=name, adapters=adapters)
        self._publisher = Publisher(placed, published, endpoint)

    def start(self, base: PolicyRef) -> None:
        """Start the engine on the base model with all adapters; they are asked through the router once they answered.

        Raises:
            SalusError: as `Publisher.start` does.
        """
        self._publisher.start(base)
        for route in self._routes:
            self._router.record(route)
            self._settle(route)

    def stop(self) -> None:
        """Take all down; harmless where they are not up."""
        for route in self._routes:
            self._router.forget(route.model)
            self._settle(route)
        self._publisher.stop()

    def _settle(self, route: Route) -> None:
        try:
            self._router.everywhere("settle", route)
        except RayError as error:
            # Not fatal: a router that was not reached asks the route table at its next health check.
            logger.warning("A router did not settle: %s", reason(error))
