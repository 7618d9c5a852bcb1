"""The router's ASGI app: finds out which model a request is for, and passes request and answer through."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from actors.serve.gateway.answer import Answer, finished
from actors.serve.gateway.body import parse_body, read_body
from actors.serve.gateway.caller import PublicRoute, find_route, route_path
from actors.serve.gateway.config import GatewayConfig
from actors.serve.gateway.cors import with_cors
from actors.serve.gateway.refusal import ClientGone, Header, Refused
from actors.serve.router.lanes import RouteLane, RouterLanes
from actors.serve.router.models import NOBODY, AllModels, AnsweredInstead, RouterMeter
from actors.serve.router.routes import INTERNAL, model_of_answer
from actors.serve.router.upstream import MISDIRECTED, Ask, Unreachable, UpstreamReply, Upstreams, unreachable

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

# "any": every application would say the same of it. "pages": the one that has them.
Kind = Literal["model", "any", "pages", "unnamed"]


@dataclass(frozen=True)
class ModelChoice:
    """`model` where the request names one; else by `kind`. "unnamed": it should have named one."""

    kind: Kind
    model: str | None = None


ANY = ModelChoice("any")


def choose(method: str, path: str, public: PublicRoute | None, body: bytes) -> ModelChoice:
    """Who answers; whether the request is in order is for that application's gateway to say."""
    if public is None or method not in public.methods:
        return ANY
    if public.page:
        return ModelChoice("pages")
    if public.template == "/v1/models/{model}":
        return ModelChoice("model", path.rpartition("/")[2])
    if public.generates:
        return _named(_field(body, "model"))
    if public.template == "/v1/feedback":
        answer = _field(body, "answer_id")
        model = model_of_answer(answer) if isinstance(answer, str) else None
        return ANY if model is None else ModelChoice("model", model)
    return ANY


class _NoObject:
    """What is no JSON object has no fields."""


def _named(model: object) -> ModelChoice:
    if isinstance(model, str) and model:
        return ModelChoice("model", model)
    # A body that cannot be read is any gateway's to refuse.
    return ANY if isinstance(model, _NoObject) else ModelChoice("unnamed")


def _field(body: bytes, name: str) -> object:
    """A field of a JSON object, read as the gateway behind it reads it, which is in another process."""
    try:
        return parse_body(body).get(name)
    except Refused:
        return _NoObject()


# A path that no gateway has a route for.
_NOWHERE = "/-"


class ModelRouter:
    """ASGI middleware around an app that only lives and ends. One event loop; its state is that of its lanes.

    It asks for no key, and answers nothing by itself but whether it lives, and that a body is too long. All else an
    application has said, or, where no application has the model, one has let the same client in first.
    """

    def __init__(self, app: ASGIApp, lanes: RouterLanes, base: str, gateway: GatewayConfig) -> None:
        """`base`: the endpoint's address as it is reached from here."""
        self._app = app
        self._lanes = lanes.lanes
        self._gateway = gateway
        self._meter = RouterMeter(lanes.lanes)
        self._upstreams = Upstreams(base)
        self._all = AllModels(lanes.lanes, self._upstreams, self._meter)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._until_gone(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _until_gone(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, unless the client leaves: then the application is left too, which stops answering."""
        headers: list[Header] = list(scope["headers"])
        answer = Answer(with_cors(send, dict(headers), self._gateway), lambda: "", ())
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
                await _whole(send, await here(ask))
            else:
                await self._pass_on(ask, choose(ask.method, path, find_route(path), ask.body), send)
        except AnsweredInstead as said:
            self._meter.answered(NOBODY, said.reply.status)
            await _whole(send, said.reply)
        except Unreachable:
            await self._refuse(unreachable(), answer)
        except Refused as refused:
            await self._refuse(refused, answer)

    async def _refuse(self, refused: Refused, answer: Answer) -> None:
        self._meter.answered(NOBODY, refused.status)
        await answer.refuse(refused)

    def _here(self, method: str, path: str) -> Callable[[Ask], Awaitable[UpstreamReply]] | None:
        """What is put together here, from what all applications say."""
        if method != "GET":
            return None
        return {
            "/health": self._all.health,
            "/ready": self._all.ready,
            "/v1/models": self._all.models,
            "/metrics": self._all.metrics,
        }.get(path)

    async def _pass_on(self, ask: Ask, choice: ModelChoice, send: Send) -> None:
        model, lane = await self._lane(choice, ask)
        async with lane.passing() as route:
            status = await (await self._upstreams.to(model, route.prefix)).relay(ask, send)
        self._meter.answered(model, status)

    async def _lane(self, choice: ModelChoice, ask: Ask) -> tuple[str, RouteLane]:
        if not self._lanes:
            raise Refused(503, "No model is up yet; ask again.", "model_unavailable", headers=[(b"retry-after", b"1")])
        first = next(iter(self._lanes))
        if choice.kind == "model":
            model = choice.model or ""
            if model not in self._lanes:
                await self._all.let_in(ask)
                raise Refused(404, f"The model `{model[:200]}` does not exist.", "model_not_found", "model")
            return model, self._lanes[model]
        if choice.kind == "pages":
            first = next((model for model, lane in self._lanes.items() if lane.route.pages), first)
        elif choice.kind == "unnamed" and len(self._lanes) > 1:
            await self._all.let_in(ask)
            raise Refused(400, "Say which model is to answer.", "missing_required_parameter", "model")
        return first, self._lanes[first]

    async def close(self) -> None:
        """End all connections to applications."""
        await self._upstreams.close()


async def _gone(receive: Receive) -> None:
    """Return when the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _whole(send: Send, reply: UpstreamReply) -> None:
    kept = [header for header in reply.headers if header[0] != b"content-length"]
    length = (b"content-length", str(len(reply.body)).encode())
    await send({"type": "http.response.start", "status": reply.status, "headers": finished((*kept, length), ())})
    await send({"type": "http.response.body", "body": reply.body, "more_body": False})


def _target(scope: Mapping[str, Any]) -> str:
    """The path and query that go on; of a path without a route, only that."""
    path = route_path(scope)
    if find_route(path) is None:
        return _NOWHERE
    query = bytes(scope.get("query_string", b"")).decode("latin-1")
    return f"{path}?{query}" if query else path
