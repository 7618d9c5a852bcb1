"""The gateway: plain ASGI around the served app, without a task, a queue or a copy of its own for a streamed part."""

from __future__ import annotations

import logging
import re
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from actors.caller import CALLER, REQUEST_ID, ROLE, answered_by
from actors.gateway.access import Route, find_route, route_path
from actors.gateway.admission import Admission
from actors.gateway.answer import Answer
from actors.gateway.body import check_body, read_body, replayed
from actors.gateway.config import GatewayConfig
from actors.gateway.cors import cors_headers, is_preflight, preflight_headers
from actors.gateway.credentials import Headers
from actors.gateway.keys import Caller, KeyRing
from actors.gateway.meter import CLIENT_GONE, NOBODY, FinishedRequest, Meter
from actors.gateway.refusal import ClientGone, Header, Refused

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

logger = logging.getLogger(__name__)

OTHER = "other"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_REQUEST_ID = re.compile(rb"[A-Za-z0-9_-]{1,64}")
# The app has no use for keys. Of x-request-id vLLM makes the id of an answer, and two that run at once may not share
# one: a client could stop another's answer, or have feedback put down to it.
_KEPT_BACK = frozenset({b"authorization", b"x-api-key", b"x-request-id"})
_POLICY_VIOLATION = 1008


class Gateway:
    """ASGI middleware: keys, roles, limits, safe headers, metrics. One event loop; all its state is its own.

    A request: admitted (else 401, 403, 404, 405, 415, 429) -> its body read and looked at (else 400, 408, 413) -> the
    app -> its answer, or 500 where it fails before it has begun to answer. After that the connection breaks off, as
    it would without a gateway: half an answer must not look like a whole one.
    """

    def __init__(
        self,
        app: ASGIApp,
        config: GatewayConfig,
        keys: KeyRing,
        meter: Meter,
        version: Callable[[], str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`version`: the policy that answers now, asked for when an answer begins. `clock`: seconds, never set back."""
        self._app = app
        self._config = config
        self._admission = Admission(config, keys, clock)
        self._meter = meter
        self._version = version
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._measured(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": "No websockets here."})
        else:
            # Start and end of the app.
            await self._app(scope, receive, send)

    async def _measured(self, scope: Scope, receive: Receive, send: Send) -> None:
        began_s = self._clock()
        headers: Headers = dict(scope["headers"])
        route = find_route(route_path(scope))
        request_id = _request_id(headers)
        state = dict(scope.get("state") or {})
        answer = Answer(
            send,
            lambda: answered_by(state, self._version),
            self._own(headers, request_id),
            route is not None and route.generates,
        )
        exchange = _Exchange(scope, receive, headers, route, request_id, answer, state)
        self._meter.started(exchange.template)
        try:
            await self._answered(exchange)
        finally:
            self._meter.finished(_finished(exchange, self._clock() - began_s))

    async def _answered(self, exchange: _Exchange) -> None:
        answer = exchange.answer
        try:
            await self._admitted(exchange)
        except Refused as refused:
            await answer.refuse(refused)
        except ClientGone:
            return

    async def _admitted(self, exchange: _Exchange) -> None:
        route, headers, receive = exchange.route, exchange.headers, exchange.receive
        if is_preflight(exchange.method, headers):
            await exchange.answer.empty(preflight_headers(route, headers, self._config))
            return
        exchange.caller = self._admission.admit(exchange.method, route, headers)
        if exchange.method != "GET":
            body = await read_body(receive, headers, self._config)
            check_body(body, self._config, route is not None and route.generates)
            receive = replayed(body, receive)
        await self._forward(exchange, receive)

    async def _forward(self, exchange: _Exchange, receive: Receive) -> None:
        try:
            await self._app(exchange.inner_scope(), receive, exchange.answer)
            await exchange.answer.finish()
        except Exception as error:  # Whatever the app lets out has no type in common.
            if exchange.answer.begun and not exchange.answer.complete:
                raise
            logger.exception("Request %s to %s failed", exchange.request_id.decode(), exchange.template)
            if exchange.answer.begun:
                return
            sentence = f"The server failed; its log says more of request {exchange.request_id.decode()}."
            raise Refused(500, sentence, "internal_error") from error

    def _own(self, headers: Headers, request_id: bytes) -> list[Header]:
        own = cors_headers(headers, self._config)
        return [*own, (b"x-request-id", request_id)] if self._config.request_id_header else own


@dataclass(slots=True)
class _Exchange:
    """One request on its way through."""

    scope: Scope
    receive: Receive
    headers: Headers
    route: Route | None
    request_id: bytes
    answer: Answer
    # What is said to the app, and what it may say in return.
    state: dict[str, Any]
    caller: Caller | None = None

    @property
    def method(self) -> str:
        return str(self.scope["method"])

    @property
    def template(self) -> str:
        return self.route.template if self.route is not None else OTHER

    def inner_scope(self) -> dict[str, Any]:
        """The scope as the app sees it: without keys, and with who asks."""
        name, role = self.caller if self.caller is not None else ("", "")
        self.state |= {CALLER: name, ROLE: role, REQUEST_ID: self.request_id.decode()}
        headers = [header for header in self.scope["headers"] if header[0] not in _KEPT_BACK]
        return {**self.scope, "headers": headers, "state": self.state}


def _finished(exchange: _Exchange, seconds: float) -> FinishedRequest:
    answer, caller = exchange.answer, exchange.caller
    return FinishedRequest(
        route=exchange.template,
        # A client may send any word as its method; metrics keep every word they see.
        method=exchange.method if exchange.method in _METHODS else OTHER,
        status=answer.status if answer.status is not None else CLIENT_GONE,
        seconds=seconds,
        role=caller.role if caller is not None else NOBODY,
        version=answer.policy or NOBODY,
        tokens=answer.tokens(),
    )


def _request_id(headers: Headers) -> bytes:
    """The id a request came with, where it is one that logs and headers can take; else a new one."""
    given = headers.get(b"x-request-id", b"")
    return given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex.encode()
