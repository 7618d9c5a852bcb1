"""The router's ASGI app: finds out which model a request is for, and passes request and answer through."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from actors.gateway.access import find_route, route_path
from actors.gateway.answer import VERSION_HEADER, Answer, finished
from actors.gateway.body import read_body
from actors.gateway.config import GatewayConfig
from actors.gateway.cors import cors_headers
from actors.gateway.refusal import ClientGone, Header, Refused
from actors.router.choice import Choice, choose
from actors.router.headers import without_body
from actors.router.keeper import RouteKeeper
from actors.router.lane import Lane
from actors.router.meter import NOBODY, RouterMeter
from actors.router.route import INTERNAL
from actors.router.upstream import MISDIRECTED, Ask, Reply, Unreachable, Upstream, unreachable

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

# Status, headers and body of an answer made here.
Whole = tuple[int, list[Header], bytes]

_OK = 200
_SERVER_FAULT = 500
# A path that no gateway has a route for.
_NOWHERE = "/-"
# How long an application may take to say whether it is ready.
_READY_S = 5.0
_JSON: Header = (b"content-type", b"application/json")
_TEXT: Header = (b"content-type", b"text/plain; version=0.0.4; charset=utf-8")


class Said(Exception):
    """Ends a request with what an application answered to another in its place."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.status)
        self.reply = reply


class ModelRouter:
    """ASGI middleware around an app that only lives and ends. One event loop; its state is that of its lanes.

    It asks nobody for a key, and answers nothing by itself but whether it lives, and that a body is too long: all
    else an application has said, or, where no application has the model, one has let the same client in first.
    """

    def __init__(self, app: ASGIApp, keeper: RouteKeeper, base: str, gateway: GatewayConfig) -> None:
        """`base`: the endpoint's address as it is reached from here."""
        self._app = app
        self._lanes = keeper.lanes
        self._base = base
        self._gateway = gateway
        self._meter = RouterMeter(keeper.lanes)
        # One to each model's present application.
        self._upstreams: dict[str, tuple[str, Upstream]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._until_gone(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _until_gone(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, unless the client leaves: then the application is left too, which stops answering."""
        headers: list[Header] = list(scope["headers"])
        answer = Answer(send, lambda: "", cors_headers(dict(headers), self._gateway), counts_tokens=False)
        try:
            body = b""
            if scope["method"] not in ("GET", "HEAD", "OPTIONS"):
                body = await read_body(receive, dict(headers), self._gateway)
            ask = Ask(scope["method"], _target(scope), tuple(headers), body)
        except Refused as refused:
            self._meter.answered(NOBODY, refused.status)
            await answer.refuse(refused)
            return
        except ClientGone:
            return
        answering = asyncio.create_task(self._answer(ask, route_path(scope), answer, send))
        leaving = asyncio.create_task(_gone(receive))
        try:
            await asyncio.wait((answering, leaving), return_when=asyncio.FIRST_COMPLETED)
            if answering.done():
                answering.result()
        finally:
            for task in (answering, leaving):
                task.cancel()
            await asyncio.gather(answering, leaving, return_exceptions=True)

    async def _answer(self, ask: Ask, path: str, answer: Answer, send: Send) -> None:
        try:
            if path.startswith(INTERNAL):
                raise Refused(MISDIRECTED, "There is no such application here.", "misdirected_request")
            here = self._here(ask.method, path)
            if here is not None:
                status, headers, body = await here(ask)
                await _whole(send, status, headers, body)
            else:
                await self._pass_on(ask, choose(ask.method, path, find_route(path), ask.body), send)
        except Said as said:
            self._meter.answered(NOBODY, said.reply.status)
            await _whole(send, said.reply.status, said.reply.headers, said.reply.body)
        except Unreachable:
            await self._refuse(unreachable(), answer)
        except Refused as refused:
            await self._refuse(refused, answer)

    async def _refuse(self, refused: Refused, answer: Answer) -> None:
        self._meter.answered(NOBODY, refused.status)
        await answer.refuse(refused)

    def _here(self, method: str, path: str) -> Callable[[Ask], Awaitable[Whole]] | None:
        """What is put together here, from what all applications say."""
        if method != "GET":
            return None
        return {
            "/health": self._health,
            "/ready": self._ready,
            "/v1/models": self._models,
            "/metrics": self._metrics,
        }.get(path)

    async def _pass_on(self, ask: Ask, choice: Choice, send: Send) -> None:
        model, lane = await self._lane(choice, ask)
        async with lane.passing() as route:
            status = await (await self._upstream(model, route.prefix)).relay(ask, send)
        self._meter.answered(model, status)

    async def _lane(self, choice: Choice, ask: Ask) -> tuple[str, Lane]:
        if not self._lanes:
            raise Refused(503, "No model is up yet; ask again.", "model_unavailable", headers=[(b"retry-after", b"1")])
        first = next(iter(self._lanes))
        if choice.kind == "model":
            model = choice.model or ""
            if model not in self._lanes:
                await self._let_in(ask)
                sentence = f"The model {model[:200]!r} does not exist."
                raise Refused(404, sentence, "model_not_found", "model")
            return model, self._lanes[model]
        if choice.kind == "pages":
            first = next((model for model, lane in self._lanes.items() if lane.route.pages), first)
        elif choice.kind == "unnamed" and len(self._lanes) > 1:
            await self._let_in(ask)
            raise Refused(400, "Say which model is to answer.", "missing_required_parameter", "model")
        return first, self._lanes[first]

    async def _let_in(self, ask: Ask) -> None:
        """Return where this client may list the models: strangers learn nothing of which there are.

        Raises:
            Said: what an application answers to it instead.
        """
        (reply,) = await self._ask_all(_read(ask, "/v1/models"), 1)
        if reply[1].status != _OK:
            raise Said(reply[1])

    async def _models(self, ask: Ask) -> Whole:
        replies = await self._ask_all(_read(ask, "/v1/models"))
        data = [model for _, reply in replies for model in json.loads(reply.body)["data"]]
        return _OK, _kept(replies[0][1].headers), json.dumps({"object": "list", "data": data}).encode()

    async def _metrics(self, ask: Ask) -> Whole:
        replies = await self._ask_all(_read(ask, "/metrics"))
        text = self._meter.text({model: reply.body for model, reply in replies})
        return _OK, [_TEXT, *(header for header in _kept(replies[0][1].headers) if header[0] != b"content-type")], text

    async def _health(self, ask: Ask) -> Whole:
        return _OK, [_JSON], b"{}"

    async def _ready(self, ask: Ask) -> Whole:
        """Whether every model would be answered for at once; it waits for nobody."""
        lanes = list(self._lanes.items())
        ready = bool(lanes) and not any(lane.held for _, lane in lanes)
        if ready:
            asked = Ask("GET", "/ready", tuple(without_body(ask.headers)))
            says = [self._is_ready(model, lane, asked) for model, lane in lanes]
            ready = all(await asyncio.gather(*says))
        return _OK if ready else 503, [_JSON], json.dumps({"ready": ready}).encode()

    async def _is_ready(self, model: str, lane: Lane, asked: Ask) -> bool:
        try:
            async with asyncio.timeout(_READY_S):
                upstream = await self._upstream(model, lane.route.prefix)
                return (await upstream.fetch(asked)).status == _OK
        except (TimeoutError, Unreachable):
            return False

    async def _ask_all(self, ask: Ask, most: int | None = None) -> list[tuple[str, Reply]]:
        """The good answers of all applications, or of the first `most` that are up.

        Raises:
            Said: the answer of one that did not let the client in.
            Unreachable: none is up.
        """
        good: list[tuple[str, Reply]] = []
        for model, lane in list(self._lanes.items()):
            try:
                async with lane.passing() as route:
                    reply = await (await self._upstream(model, route.prefix)).fetch(ask)
            except Unreachable:
                continue
            if reply.status >= _SERVER_FAULT:
                continue
            if reply.status != _OK:
                raise Said(reply)
            good.append((model, reply))
            if len(good) == most:
                break
        if not good:
            raise Unreachable("no application is up")
        return good

    async def _upstream(self, model: str, prefix: str) -> Upstream:
        """The connections to a model's present application; nobody uses those to its former one any more."""
        known = self._upstreams.get(model)
        if known is not None and known[0] == prefix:
            return known[1]
        upstream = Upstream(self._base, prefix)
        self._upstreams[model] = (prefix, upstream)
        if known is not None:
            await known[1].close()
        return upstream

    async def close(self) -> None:
        """End all connections to applications."""
        while self._upstreams:
            _, (_, upstream) = self._upstreams.popitem()
            await upstream.close()


async def _gone(receive: Receive) -> None:
    """Return when the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _whole(send: Send, status: int, headers: Iterable[Header], body: bytes) -> None:
    kept = [header for header in headers if header[0] != b"content-length"]
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": finished((*kept, length), ())})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def _target(scope: Mapping[str, Any]) -> str:
    """The path and query that go on; of a path that nobody has, only that."""
    path = route_path(scope)
    if find_route(path) is None:
        return _NOWHERE
    query = bytes(scope.get("query_string", b"")).decode("latin-1")
    return f"{path}?{query}" if query else path


def _read(ask: Ask, path: str) -> Ask:
    """The same client's question for what lies at `path`, not compressed."""
    return Ask("GET", path, tuple(header for header in without_body(ask.headers) if header[0] != b"accept-encoding"))


def _kept(headers: Iterable[Header]) -> list[Header]:
    """An application's headers for what was put together from several."""
    return [header for header in headers if header[0] != VERSION_HEADER and not header[0].startswith(b"content-l")]
