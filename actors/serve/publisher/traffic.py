"""An endpoint's traffic, asked of all its replicas; the dashboard's meter."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ray.exceptions import RayError

from actors.serve.gateway.traffic import ReplicaTraffic, together
from actors.serve.pages.dashboard_data import Traffic

if TYPE_CHECKING:
    from actors.serve.config import PublisherConfig


class EndpointTraffic:
    """Asks the endpoint that a namespace's publisher started; from any actor of its cluster."""

    def __init__(self, config: PublisherConfig, namespace: str) -> None:
        # Imported here: it needs Serve, and this object travels.
        from actors.serve.publisher.endpoint import ServeEndpoint

        self._endpoint = ServeEndpoint(config, namespace)

    async def traffic(self) -> Traffic | None:
        """The last minute's; None while no replica answers."""
        return await asyncio.to_thread(self._asked)

    def _asked(self) -> Traffic | None:
        try:
            replies: list[ReplicaTraffic] = self._endpoint.everywhere("traffic")
        except RayError:
            return None
        return together(replies)
