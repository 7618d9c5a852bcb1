"""A routed publisher on Ray Serve, put together."""

from __future__ import annotations

from contextlib import AbstractContextManager

from actors.contract.actor_address import ActorAddress
from actors.serve.config import PublisherConfig
from actors.serve.router.applications import Applications
from actors.serve.router.endpoint import ServeRouter
from actors.serve.router.publisher import Fit, RoutedPublisher
from actors.serve.router.room import check_room


def routed_publisher(
    config: PublisherConfig,
    namespace: str,
    fit: Fit | None = None,
    office: ActorAddress | None = None,
    placing: AbstractContextManager[object] | None = None,
) -> RoutedPublisher:
    """The publisher of the model `config.model_id`, behind the router that `start_router` brought up.

    Args:
        config: the endpoint, and what the model's engines need.
        namespace: the router's.
        fit: what one policy's engine needs; None: what the model's engines need.
        office: the actor behind the pages, where this model has them.
        placing: held while room is looked for and taken, in common with other models' publishers.
    """
    return RoutedPublisher(
        config.model_id,
        config.url,
        ServeRouter(config, namespace),
        Applications(namespace, config.model_id, config, office),
        fit or (lambda policy: config),
        check_room,
        placing,
    )
