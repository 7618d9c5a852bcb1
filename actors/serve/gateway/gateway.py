"""The gateway: plain ASGI around the served app, without a task, a queue or a copy of its own for a streamed part."""

from __future__ import annotations

import logging
import re
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from actors.serve.gateway.answer import Answer, AppFailed
from actors.serve.gateway.body import check_limits, parse_body, read_body, replayed
from actors.serve.gateway.caller import (
    CALLER,
    REQUEST_ID,
    ROLE,
    Headers,
    PublicRoute,
    answered_by,
    find_route,
    route_path,
)
from actors.serve.gateway.config import GatewayConfig
from actors.serve.gateway.constraints import ConstraintCheck, constraints_of
from actors.serve.gateway.cors import cors_headers, is_preflight, preflight_headers
from actors.serve.gateway.fields import check_fields
from actors.serve.gateway.keys import Caller, KeyRing
from actors.serve.gateway.limits import Admission
from actors.serve.gateway.meter import CLIENT_GONE, NOBODY, FinishedRequest, Meter
from actors.serve.gateway.refusal import ClientGone, Header, Refused

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

logger = logging.getLogger(__name__)

OTHER = "other"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_REQUEST_ID = re.compile(rb"[A-Za-z0-9_-]{1,64}")
# All that the app is told of a client's headers. vLLM reads others, that change what is not the client's: the ids of
# answers, their priority, the worker that answers.
_HANDED_ON = frozenset(
    {b"host", b"content-type", b"content-length", b"accept", b"accept-encoding", b"accept-language", b"user-agent"}
)
# vLLM makes the id of an answer of it. Two answers may not share one: a client could stop another's answer, or have
# feedback put down to it.
_ANSWER_ID = b"x-request-id"
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
        answers_of: str | None = None,
    ) -> None:
        """`version`: the policy that answers now, asked for when an answer begins. `clock`: seconds, never set back.

        `answers_of`: the model that ids of answers name, so that feedback finds its way back through a router.
        """
        self._app = app
        self._config = config
        self._admission = Admission(config, keys, clock)
        self._meter = meter
        self._version = version
        self._clock = clock
        self._answers_of = answers_of
        self._constraints = ConstraintCheck(config.constraint_timeout_s)

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
        exchange.answer.names_policy = exchange.caller is not None
        if exchange.method != "GET":
            body = await read_body(receive, headers, self._config)
            await self._check(exchange, parse_body(body))
            receive = replayed(body, receive)
        await self._forward(exchange, receive)

    async def _check(self, exchange: _Exchange, asked: dict[str, Any]) -> None:
        """Refuse a body whose sender may not ask for that."""
        route = exchange.route
        generates = route is not None and route.generates
        check_limits(asked, self._config, generates)
        if route is None or exchange.caller is None or not generates:
            return
        check_fields(asked, "chat" in route.template, self._config.fields_of(exchange.caller.role))
        for constraint in constraints_of(asked, self._config):
            exchange.constrained = True
            await self._constraints.check(constraint)

    async def _forward(self, exchange: _Exchange, receive: Receive) -> None:
        try:
            await self._app(exchange.inner_scope(self._answer_id()), receive, exchange.answer)
            await exchange.answer.finish()
        except Exception as error:  # Whatever the app lets out has no type in common.
            if exchange.answer.begun and not exchange.answer.complete:
                raise
            logger.exception("Request %s to %s failed", exchange.request_id.decode(), exchange.template)
            if exchange.answer.begun:
                return
            if exchange.constrained and isinstance(error, AppFailed):
                # An engine that died says nothing any more (see EngineDeathWatch): it found no token to go on with.
                sentence = "No answer of the form that the request demands could be given."
                raise Refused(400, sentence, "invalid_constraint") from error
            sentence = f"The server failed; its log says more of request {exchange.request_id.decode()}."
            raise Refused(500, sentence, "internal_error") from error

    def _answer_id(self) -> bytes:
        model = "" if self._answers_of is None else f"{self._answers_of}-"
        return f"{model}{uuid.uuid4().hex}".encode()

    def _own(self, headers: Headers, request_id: bytes) -> list[Header]:
        own = cors_headers(headers, self._config)
        return [*own, (b"x-request-id", request_id)] if self._config.request_id_header else own


@dataclass(slots=True)
class _Exchange:
    """One request on its way through."""

    scope: Scope
    receive: Receive
    headers: Headers
    route: PublicRoute | None
    request_id: bytes
    answer: Answer
    # What is said to the app, and what it may say in return.
    state: dict[str, Any]
    caller: Caller | None = None
    # Whether its answer must have a form.
    constrained: bool = False

    @property
    def method(self) -> str:
        return str(self.scope["method"])

    @property
    def template(self) -> str:
        return self.route.template if self.route is not None else OTHER

    def inner_scope(self, answer_id: bytes) -> dict[str, Any]:
        """The scope as the app sees it: without keys, with who asks, and with the id that its answer is to have."""
        name, role = self.caller if self.caller is not None else ("", "")
        self.state |= {CALLER: name, ROLE: role, REQUEST_ID: self.request_id.decode()}
        headers = [header for header in self.scope["headers"] if header[0] in _HANDED_ON]
        return {**self.scope, "headers": [*headers, (_ANSWER_ID, answer_id)], "state": self.state}


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
