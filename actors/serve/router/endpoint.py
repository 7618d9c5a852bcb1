"""The router as publishers see it: it starts, stops, and changes the way of one model on all its replicas."""

from __future__ import annotations

import logging
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any, Literal, Protocol

import ray
from ray.exceptions import RayError

from actors.contract.actor_address import ActorAddress
from actors.errors import SalusError, reason
from actors.serve.address import check_address, serve_address
from actors.serve.publisher.endpoint import start_serve, take_down
from actors.serve.publisher.replica_calls import Replicas
from actors.serve.replica.app import app_name
from actors.serve.router.actor import ACTOR, start_table, stop_table
from actors.serve.router.lanes import RouterState
from actors.serve.router.routes import Route

if TYPE_CHECKING:
    from actors.serve.config import PublisherConfig

RouterCall = Literal["state", "hold", "point", "release", "settle"]
_LOOK_S = 0.1


class Router(Protocol):
    """What a publisher needs of the router before its model."""

    def move(self, model: str) -> None:
        """Note at the route table that the model is about to change its application."""

    def record(self, route: Route) -> None:
        """Note at the route table where the model's requests go from now on."""

    def forget(self, model: str) -> None:
        """Note at the route table that no application answers for the model any more."""

    def everywhere(self, call: RouterCall, route: Route) -> list[RouterState]:
        """`call` on every living router replica: what each says. RayError where one raises."""


class ServeRouter:
    """The router of one namespace, started by `start_router`; one object for each thread."""

    def __init__(self, config: PublisherConfig, namespace: str) -> None:
        from actors.serve.router.server import DEPLOYMENT

        self._table = ActorAddress(actor=ACTOR, namespace=namespace)
        self._replicas = Replicas(DEPLOYMENT, app_name(namespace), config.drain_timeout_s)

    def move(self, model: str) -> None:
        ray.get(self._actor().move.remote(model))

    def record(self, route: Route) -> None:
        ray.get(self._actor().record.remote(route))

    def forget(self, model: str) -> None:
        ray.get(self._actor().forget.remote(model))

    def everywhere(self, call: RouterCall, route: Route) -> list[RouterState]:
        arguments = () if call == "state" else (route,)
        return self._replicas.everywhere(call, *arguments)

    def _actor(self) -> Any:
        try:
            return ray.get_actor(self._table.actor, namespace=self._table.namespace)
        except ValueError as error:
            raise SalusError("the route table is gone; end the endpoint and start it anew") from error


def start_router(config: PublisherConfig, namespace: str) -> None:
    """Bring the router up at the endpoint's route, with no model yet; it answers when this returns.

    Raises:
        SalusError: the address is another's or open to others, or the router does not start.
    """
    from ray import serve

    from actors.serve.router.server import router_app

    check_address(config)
    # Serve tells of every application that comes up.
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    deadline = time.monotonic() + config.start_timeout_s
    start_serve(config)
    table = start_table(namespace, config.hold_s)
    try:
        serve.run(router_app(config, table), name=app_name(namespace), route_prefix=config.route)
    except (RayError, RuntimeError) as error:
        raise SalusError(f"The router at {config.url} could not start: {reason(error)}") from error
    _wait_for_health(config.url, deadline)


def stop_router(namespace: str) -> None:
    """Take the router down, and Serve where nothing else is up; harmless where it is not."""
    if serve_address() is not None:
        take_down(app_name(namespace))
    stop_table(namespace)


def _wait_for_health(url: str, deadline: float) -> None:
    while True:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5):
                return
        except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
            if time.monotonic() > deadline:
                raise SalusError(f"The router at {url} came up but does not answer: {error}") from error
        time.sleep(_LOOK_S)
