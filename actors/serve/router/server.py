"""The router as a Serve application: its options, its replica, and how it is built; imports no engine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from ray import serve
from starlette.applications import Starlette

from actors.contract.actor_address import ActorAddress
from actors.contract.records import Record
from actors.serve.gateway.config import GatewayConfig
from actors.serve.router.actor import ask_routes
from actors.serve.router.app import ModelRouter
from actors.serve.router.lanes import RouterLanes, RouterState
from actors.serve.router.routes import KnownRoute, Route

if TYPE_CHECKING:
    from ray.serve import Application

    from actors.serve.config import PublisherConfig

DEPLOYMENT = "ModelRouter"
# Each waits on an application's answer; those have limits of their own.
_MOST_REQUESTS = 1_000_000
# Where Serve's proxy of the endpoint listens, which routers reach by loopback.
_HEAD_NODE = {"node:__internal_head__": 0.001}


class RouterOptions(Record):
    """What a router replica is told."""

    # The endpoint's port as it is reached from the head node.
    base: str
    table: ActorAddress
    record_timeout_s: float
    drain_timeout_s: float
    hold_s: float
    gateway: GatewayConfig


class RouterServer:
    """One replica. Life: ask the route table -> lead requests, with moves and health checks -> end."""

    def __init__(self, options: RouterOptions) -> None:
        self._options = options
        self._keeper = RouterLanes(self._routes, drain_timeout_s=options.drain_timeout_s, hold_s=options.hold_s)

    async def __serve_build_asgi_app__(self) -> Any:
        await self._keeper.follow()
        # Inside, for its beginning and end.
        router = ModelRouter(
            Starlette(lifespan=self._lifespan), self._keeper, self._options.base, self._options.gateway
        )
        self._router = router
        return router

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        yield
        await self._router.close()

    async def _routes(self) -> tuple[KnownRoute, ...]:
        return await ask_routes(self._options.table, self._options.record_timeout_s)

    async def check_health(self) -> None:
        await self._keeper.follow()

    # What a publisher broadcasts; see RouterLanes.

    async def state(self) -> RouterState:
        return self._keeper.state

    async def hold(self, route: Route) -> RouterState:
        return await self._keeper.hold(route)

    async def point(self, route: Route) -> RouterState:
        return await self._keeper.point(route)

    async def release(self, route: Route) -> RouterState:
        return await self._keeper.release(route)

    async def settle(self, route: Route) -> RouterState:
        return await self._keeper.settle(route)


def router_app(config: PublisherConfig, table: ActorAddress) -> Application:
    """The application at the endpoint's route."""
    options = RouterOptions(
        base=f"http://{_own_host(config.host)}:{config.port}",
        table=table,
        record_timeout_s=config.record_timeout_s,
        drain_timeout_s=config.drain_timeout_s,
        hold_s=config.hold_s,
        gateway=config.gateway,
    )
    deployment: Any = serve.deployment(
        serve.ingress()(RouterServer),
        name=DEPLOYMENT,
        num_replicas=config.router_replicas,
        max_ongoing_requests=_MOST_REQUESTS,
        ray_actor_options={"num_cpus": 0, "resources": _HEAD_NODE},
        health_check_period_s=config.health_check_period_s,
        health_check_timeout_s=config.drain_timeout_s + config.record_timeout_s,
        graceful_shutdown_timeout_s=config.shutdown_timeout_s,
        logging_config={"log_level": "WARNING", "enable_access_log": False},
    )
    application: Application = deployment.bind(options)
    return application


def _own_host(host: str) -> str:
    """The endpoint's host for those on its node."""
    if host in ("0.0.0.0", "::"):
        return "127.0.0.1"
    return f"[{host}]" if ":" in host and not host.startswith("[") else host
