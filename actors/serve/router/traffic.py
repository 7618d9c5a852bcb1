"""The traffic of all models behind a router; the dashboard's meter."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ray.exceptions import RayError

from actors.contract.actor_address import ActorAddress
from actors.serve.gateway.traffic import ReplicaTraffic, together
from actors.serve.pages.dashboard_data import Traffic
from actors.serve.publisher.replica_calls import Replicas
from actors.serve.replica.app import deployment_name
from actors.serve.router.applications import application_name
from actors.serve.router.desk import ACTOR, ask_routes
from actors.serve.router.route import Route

if TYPE_CHECKING:
    from actors.serve.config import PublisherConfig


class RoutedTraffic:
    """Asks the replicas of each model's present application; from any actor of the cluster."""

    def __init__(self, config: PublisherConfig, namespace: str) -> None:
        self._config = config
        self._namespace = namespace

    async def traffic(self) -> Traffic | None:
        """The last minute's; None while no replica answers."""
        desk = ActorAddress(actor=ACTOR, namespace=self._namespace)
        try:
            known = await ask_routes(desk, self._config.desk_timeout_s)
        except (ValueError, TimeoutError, RayError):
            return None
        asked = [asyncio.to_thread(self._asked, entry.route) for entry in known]
        replies = await asyncio.gather(*asked)
        return together([each for model in replies for each in model])

    def _asked(self, route: Route) -> list[ReplicaTraffic]:
        deployment = deployment_name(self._config.model_copy(update={"model_id": route.model}))
        replicas = Replicas(deployment, application_name(self._namespace, route.model, route.generation), 1.0)
        try:
            return replicas.everywhere("traffic")
        except RayError:
            return []
