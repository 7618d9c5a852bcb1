"""Applications of a few lines behind a proxy that knows their paths, and routers before them, all over loopback."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route as Path
from starlette.types import ASGIApp, Receive, Scope, Send

from actors.serve.gateway.config import GatewayConfig
from actors.serve.gateway.gateway import Gateway
from actors.serve.gateway.keys import ApiKey, KeyRing, Role
from actors.serve.gateway.meter import Meters
from actors.serve.router.app import ModelRouter
from actors.serve.router.lanes import RouterLanes
from actors.serve.router.routes import KnownRoute, Route

# What the applications here do is said in fields of their own.
PLAYED: dict[Role, tuple[str, ...]] = {"client": ("do", "seconds", "content")}
OPEN = GatewayConfig(open=True, max_body_bytes=2000, requests_per_minute=None, extra_fields=PLAYED)


@dataclass
class Seen:
    """One request as an application saw it."""

    path: str
    query: str
    headers: list[tuple[bytes, bytes]]
    body: bytes

    def header(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.headers if key == name]


@dataclass
class Application:
    """Answers for one model under one version; what a request says in `do` is done with it."""

    model: str
    version: str
    keys: tuple[ApiKey, ...] = ()
    seen: list[Seen] = field(default_factory=list)
    ready: bool = True
    # When each chat request came and was answered.
    spans: list[tuple[float, float]] = field(default_factory=list)
    # Lets what waits go on; set where an answer was left before its end.
    go: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)

    def app(self) -> ASGIApp:
        inner = Starlette(
            routes=[
                Path("/v1/chat/completions", self._chat, methods=["POST"]),
                Path("/v1/models", self._models),
                Path("/v1/models/{model}", self._models),
                Path("/v1/feedback", self._plain, methods=["POST"]),
                Path("/review", self._plain),
                Path("/ready", self._is_ready),
                Path("/metrics", self._metrics),
            ]
        )
        config = OPEN if not self.keys else GatewayConfig(extra_fields=PLAYED)
        gateway = Gateway(inner, config, KeyRing(None, self.keys), Meters(()), lambda: self.version)

        async def noted(scope: Scope, receive: Receive, send: Send) -> None:
            query = scope["query_string"].decode()
            self.seen.append(Seen(scope["path"], query, list(scope["headers"]), b""))
            await gateway(scope, receive, send)

        return noted

    async def _chat(self, request: Request) -> Response:
        self.seen[-1].body = await request.body()
        asked = json.loads(self.seen[-1].body)
        do = asked.get("do")
        came = time.monotonic()
        if do in ("stream", "die"):
            return StreamingResponse(self._parts(do), media_type="text/event-stream")
        if do == "wait":
            await self._until_told()
        await asyncio.sleep(asked.get("seconds", 0))
        self.spans.append((came, time.monotonic()))
        reply = JSONResponse({"by": self.version, "content": asked.get("content")})
        for cookie in ("a=1", "b=2"):
            reply.headers.append("set-cookie", cookie)
        reply.headers["x-of-app"] = self.version
        reply.headers["connection"] = "x-one-hop"
        reply.headers["x-one-hop"] = "1"
        return reply

    async def _until_told(self) -> None:
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.left.set()
            raise

    async def _parts(self, do: str) -> AsyncIterator[str]:
        try:
            yield "data: one\n\n"
            await self.go.wait()
            if do == "die":
                raise RuntimeError("the engine died")
            yield "data: two\n\n"
        except (asyncio.CancelledError, GeneratorExit):
            self.left.set()
            raise

    async def _models(self, request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [{"id": self.model}]})

    async def _plain(self, request: Request) -> Response:
        return PlainTextResponse(self.version)

    async def _is_ready(self, request: Request) -> Response:
        return JSONResponse({"ready": self.ready}, 200 if self.ready else 503)

    async def _metrics(self, request: Request) -> Response:
        family = "# HELP salus_x_total Of x.\n# TYPE salus_x_total counter\n"
        return PlainTextResponse(f'{family}salus_x_total{{k="v"}} {len(self.model)}\n')


@dataclass
class Proxy:
    """Knows applications by prefix, as Serve's proxy does; what it does not know goes to the router."""

    applications: dict[str, ASGIApp] = field(default_factory=dict)
    # How many more requests meet a process that has not heard of any application.
    stale: int = 0

    def add(self, route: Route, application: Application) -> None:
        self.applications[route.prefix] = application.app()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await Starlette()(scope, receive, send)
            return
        prefix = next((known for known in self.applications if scope["path"].startswith(known + "/")), None)
        if prefix is None or self.stale:
            self.stale = max(0, self.stale - 1)
            await JSONResponse({"error": "misdirected"}, 421)(scope, receive, send)
            return
        await self.applications[prefix]({**scope, "root_path": prefix}, receive, send)


@dataclass
class Standing:
    """A router before applications. Its `known` is what the route table says."""

    client: httpx.AsyncClient
    lanes: RouterLanes
    proxy: Proxy
    known: list[KnownRoute]

    async def ask(self, model: str | None, do: str | None = None, **more: Any) -> httpx.Response:
        body = {"do": do, **more} | ({} if model is None else {"model": model})
        return await self.client.post("/v1/chat/completions", json=body)


def route(model: str, generation: int = 1, *, pages: bool = False) -> Route:
    return Route(model=model, prefix=f"/_/{model}-{generation}", generation=generation, pages=pages)


@asynccontextmanager
async def standing(*applications: Application, pages: str | None = None) -> AsyncIterator[Standing]:
    """Each application under the first path of its model, and a router that knows them."""
    proxy = Proxy()
    known = []
    for application in applications:
        there = route(application.model, pages=application.model == pages)
        proxy.add(there, application)
        known.append(KnownRoute(route=there))
    async with (
        serving(proxy) as base,
        router(base, lambda: tuple(known)) as (url, lanes),
        httpx.AsyncClient(base_url=url, timeout=20) as client,
    ):
        yield Standing(client, lanes, proxy, known)


@asynccontextmanager
async def router(base: str, known: Callable[[], tuple[KnownRoute, ...]]) -> AsyncIterator[tuple[str, RouterLanes]]:
    """One router replica before whatever is at `base`: its address, and what publishers talk to."""

    async def ask() -> tuple[KnownRoute, ...]:
        return known()

    lanes = RouterLanes(ask, drain_timeout_s=2, hold_s=60)
    await lanes.follow()
    app = ModelRouter(Starlette(), lanes, base, OPEN)
    async with serving(app) as url:
        yield url, lanes
        await app.close()


@asynccontextmanager
async def serving(app: ASGIApp) -> AsyncIterator[str]:
    """The app on a free port, in this event loop."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        task = asyncio.create_task(server.serve([listener]))
        while not server.started:
            await asyncio.sleep(0.005)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await task
