"""The gateway: plain ASGI around the served app, without a task, a queue or a copy of its own for a streamed part."""

from __future__ import annotations

import json
import logging
import re
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from actors.serve.api.responses import as_chat_request
from actors.serve.gateway.answer import Answer, AnswerTail, AppFailed
from actors.serve.gateway.body import check_limits, parse_body, read_body, replayed
from actors.serve.gateway.caller import (
    CALLER,
    REQUEST_ID,
    ROLE,
    Headers,
    PublicRoute,
    find_route,
    route_path,
)
from actors.serve.gateway.config import GatewayConfig
from actors.serve.gateway.constraints import ConstraintCheck, constraints_of
from actors.serve.gateway.cors import is_preflight, preflight_headers, with_cors
from actors.serve.gateway.exchange import NO_LAYERS, ExchangeLayers, ServedAnswer, ServedExchange
from actors.serve.gateway.fields import check_fields
from actors.serve.gateway.keys import Caller, KeyRing
from actors.serve.gateway.limits import Admission
from actors.serve.gateway.meter import CLIENT_GONE, NOBODY, NOT_SAID, FinishedRequest, Meter
from actors.serve.gateway.refusal import ClientGone, Refused

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
_NO_TOOLS = (
    "This server does not read calls of tools. Its operator may name a parser by publish.engine_extra, as"
    " {enable_auto_tool_choice: true, tool_call_parser: NAME}."
)


class Gateway:
    """ASGI middleware: keys, roles, limits, safe headers, metrics. One event loop; all its state is its own.

    A request is admitted (else 401, 403, 404, 405, 415, 429). Its body is read once and checked (else 400, 408, 413).
    Then the app answers; where it fails before its answer has begun, the gateway answers 500. Where it fails later, the
    connection breaks off, as it would without a gateway: half an answer must not look like a whole one. Of a request
    for answers, the layers see what was read here, and its answer as it is collected here.
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
        layers: ExchangeLayers = NO_LAYERS,
        tools: bool = True,
        only_model: str | None = None,
    ) -> None:
        """`version`: the policy that answers now, asked for when an answer begins. `clock`: seconds, never set back.

        `answers_of`: the model that ids of answers name, so that feedback finds its way back through a router.
        `tools`: whether the app reads calls of tools out of answers. `only_model`: requests must name it, where the
        app has others that are not for this gateway's clients.
        """
        self._app = app
        self._config = config
        self._admission = Admission(config, keys, clock)
        self._meter = meter
        self._version = version
        self._clock = clock
        self._answers_of = answers_of
        self._layers = layers
        self._tools = tools
        self._only_model = only_model
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
        asking = _Asking(scope, receive, headers, route, _request_id(headers), self._answer_id())
        own = [(b"x-request-id", asking.request_id)] if self._config.request_id_header else []
        send = with_cors(send, headers, self._config)
        answer = Answer(send, lambda: asking.answered_by or self._version(), own)
        self._meter.started(asking.template)
        try:
            await self._answered(asking, answer)
        finally:
            self._meter.finished(_finished(asking, answer, self._clock() - began_s))

    async def _answered(self, asking: _Asking, answer: Answer) -> None:
        try:
            await self._admitted(asking, answer)
        except Refused as refused:
            await answer.refuse(refused, asking.by_browser)
        except ClientGone:
            return

    async def _admitted(self, asking: _Asking, answer: Answer) -> None:
        route, headers, receive = asking.route, asking.headers, asking.receive
        if is_preflight(asking.method, headers):
            await answer.empty(preflight_headers(route, headers, self._config))
            return
        asking.caller = self._admission.admit(asking.method, route, headers, asking.query)
        answer.names_policy = asking.caller is not None
        if asking.method != "GET":
            body = await self._read(asking, await read_body(receive, headers, self._config))
            asking.length = len(body)
            receive = replayed(body, receive)
        await self._forward(asking, receive, answer)

    async def _read(self, asking: _Asking, body: bytes) -> bytes:
        """The body that the app gets: read here and nowhere else, and refused where its sender may not ask for it."""
        asked, route = parse_body(body), asking.route
        generates = route is not None and route.generates
        check_limits(asked, self._config, generates)
        if route is None or asking.caller is None or route.asks is None:
            return body
        check_fields(asked, route.asks, self._config.fields_of(asking.caller.role))
        if self._only_model is not None and asked.get("model") != self._only_model:
            sentence = f"The model `{str(asked.get('model'))[:200]}` does not exist."
            raise Refused(404, sentence, "model_not_found", "model")
        form = "response_format"
        if route.asks == "response":
            form = "text.format"
            body = _own_response(asked, asking.answer_id)
            asked = as_chat_request(asked)
        if not self._tools and asked.get("tools") and asked.get("tool_choice") != "none":
            raise Refused(400, _NO_TOOLS, "tools_unavailable", "tools")
        for constraint in constraints_of(asked, self._config, form):
            asking.constrained = True
            await self._constraints.check(constraint)
        said = ServedAnswer(self._layers.most_bytes, self._version)
        asking.exchange = ServedExchange(route, asking.caller.name, MappingProxyType(asked), len(body), said)
        return body

    async def _forward(self, asking: _Asking, receive: Receive, answer: Answer) -> None:
        scope = asking.inner_scope()
        try:
            if asking.exchange is None:
                await self._app(scope, receive, answer)
                await answer.finish()
                return
            asking.tail = AnswerTail(asking.exchange, self._layers, answer)
            await asking.tail.run(lambda send: self._app(scope, receive, send))
        except Exception as error:  # Whatever the app lets out has no type in common.
            if answer.begun and not answer.complete:
                raise
            logger.exception("Request %s to %s failed", asking.request_id.decode(), asking.template)
            if answer.begun:
                return
            if asking.constrained and isinstance(error, AppFailed):
                # An engine that died says nothing any more (see EngineDeathWatch): it found no token to go on with.
                sentence = "No answer of the form that the request demands could be given."
                raise Refused(400, sentence, "invalid_constraint") from error
            sentence = f"The server failed; its log says more of request {asking.request_id.decode()}."
            raise Refused(500, sentence, "internal_error") from error

    def _answer_id(self) -> bytes:
        model = "" if self._answers_of is None else f"{self._answers_of}-"
        return f"{model}{uuid.uuid4().hex}".encode()


@dataclass(slots=True)
class _Asking:
    """One request on its way through."""

    scope: Scope
    receive: Receive
    headers: Headers
    route: PublicRoute | None
    request_id: bytes
    # The id that its answer is to have, but for what each API puts before it.
    answer_id: bytes
    caller: Caller | None = None
    # Of the body that the app reads, in bytes.
    length: int | None = None
    # Whether its answer must have a form.
    constrained: bool = False
    # Of a request for answers, once it was read.
    exchange: ServedExchange | None = None
    tail: AnswerTail | None = None

    @property
    def method(self) -> str:
        return str(self.scope["method"])

    @property
    def query(self) -> bytes:
        return bytes(self.scope.get("query_string", b""))

    @property
    def by_browser(self) -> bool:
        """Whether a person opens a page: its script asks for JSON, and programs for anything."""
        page = self.route is not None and self.route.page
        return page and self.method == "GET" and b"text/html" in self.headers.get(b"accept", b"")

    @property
    def template(self) -> str:
        return self.route.template if self.route is not None else OTHER

    @property
    def answered_by(self) -> str | None:
        """The policy that gave the answer: another one may be served when it goes out."""
        return self.exchange.answer.policy if self.exchange is not None else None

    def inner_scope(self) -> dict[str, Any]:
        """The scope as the app sees it: without keys, with who asks, and with the id that its answer is to have."""
        name, role = self.caller if self.caller is not None else ("", "")
        told = {CALLER: name, ROLE: role, REQUEST_ID: self.request_id.decode()}
        headers = [header for header in self.scope["headers"] if header[0] in _HANDED_ON]
        if self.length is not None and b"content-length" in self.headers:
            headers = [header for header in headers if header[0] != b"content-length"]
            headers.append((b"content-length", str(self.length).encode()))
        state = {**(self.scope.get("state") or {}), **told}
        return {**self.scope, "headers": [*headers, (_ANSWER_ID, self.answer_id)], "state": state}


def _own_response(asked: Mapping[str, Any], answer_id: bytes) -> bytes:
    """The body of a request for a response as the app reads it: with the gateway's id, and kept nowhere.

    vLLM takes the id of a response from the body alone. What it stores it would give to any caller who asks by that id.
    """
    return json.dumps({**asked, "request_id": f"resp_{answer_id.decode()}", "store": False}).encode()


def _finished(asking: _Asking, answer: Answer, seconds: float) -> FinishedRequest:
    caller = asking.caller
    return FinishedRequest(
        route=asking.template,
        # A client may send any word as its method; metrics keep every word they see.
        method=asking.method if asking.method in _METHODS else OTHER,
        status=answer.status if answer.status is not None else CLIENT_GONE,
        seconds=seconds,
        role=caller.role if caller is not None else NOBODY,
        version=answer.policy or NOBODY,
        tokens=asking.tail.given.tokens() if asking.tail is not None else NOT_SAID,
    )


def _request_id(headers: Headers) -> bytes:
    """The id a request came with, where it is one that logs and headers can take; else a new one."""
    given = headers.get(b"x-request-id", b"")
    return given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex.encode()
