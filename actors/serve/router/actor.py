"""The route table: the one place that says which application answers for which model, asked by every router."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import ray

from actors.contract.actor_address import ActorAddress
from actors.serve.router.routes import KnownRoute, Route

ACTOR = "salus-routes"


class RouteTable:
    """Every model's route, in the order in which they came. A model's life: (record | move)* -> forget.

    A move that was never ended, because who began it died, is over after `hold_s`: the former route then holds.
    """

    def __init__(self, hold_s: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._hold_s = hold_s
        self._monotonic = monotonic
        self._routes: dict[str, Route] = {}
        # When each model's move was begun.
        self._moving: dict[str, float] = {}

    def routes(self) -> tuple[KnownRoute, ...]:
        since = self._monotonic() - self._hold_s
        return tuple(
            KnownRoute(route=route, moving=self._moving.get(model, float("-inf")) > since)
            for model, route in self._routes.items()
        )

    def move(self, model: str) -> None:
        """The model's route is about to change: a router that starts now holds its requests."""
        self._moving[model] = self._monotonic()

    def record(self, route: Route) -> None:
        """The route of its model from now on; a move is over."""
        self._routes[route.model] = route
        self._moving.pop(route.model, None)

    def forget(self, model: str) -> None:
        """No application answers for this model any more."""
        self._routes.pop(model, None)
        self._moving.pop(model, None)


# Never restarted: an empty table would make every router forget its models.
RouteTableActor = ray.remote(num_cpus=0, max_restarts=0)(RouteTable)


def start_table(namespace: str, hold_s: float) -> ActorAddress:
    """Bring the route table of a namespace up; it lives as long as the (detached) router, until `stop_table`."""
    table: Any = RouteTableActor.options(name=ACTOR, namespace=namespace, lifetime="detached", get_if_exists=True)
    ray.get(table.remote(hold_s).routes.remote())
    return ActorAddress(actor=ACTOR, namespace=namespace)


def stop_table(namespace: str) -> None:
    """End the table's actor; harmless where there is none."""
    try:
        ray.kill(ray.get_actor(ACTOR, namespace=namespace))
    except ValueError:
        return


async def ask_routes(address: ActorAddress, timeout_s: float) -> tuple[KnownRoute, ...]:
    """What the route table says.

    Errors: ValueError where it does not live, TimeoutError where it is silent, RayActorError where it dies.
    """
    table: Any = ray.get_actor(address.actor, namespace=address.namespace)
    known: tuple[KnownRoute, ...] = await asyncio.wait_for(table.routes.remote(), timeout_s)
    return known
