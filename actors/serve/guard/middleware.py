"""The guard before the served app: plain ASGI that holds every answer back until it was judged; and its metrics."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from prometheus_client import CollectorRegistry, Counter, Histogram

from actors.serve.gateway.body import replayed
from actors.serve.gateway.caller import ANSWERED_BY, find_route, route_path
from actors.serve.gateway.refusal import Header, Refused
from actors.serve.guard.config import GuardConfig
from actors.serve.guard.model import AnswerGuard, GuardUnavailable, Verdict
from actors.serve.guard.response import HeldResponse, errors_of, replaced
from actors.serve.guard.texts import RequestTexts, Response, Unreadable, question_of, response_of

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

# What becomes of a response.
GuardOutcome = Literal["passed", "replaced", "blocked", "unavailable", "unreadable"]
# From a look at some words to an engine that is busy.
SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class GuardMeter:
    """Counts in `registry`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._responses = Counter("salus_guard_responses", "Responses judged.", ["outcome"], registry=registry)
        self._seconds = Histogram(
            "salus_guard_seconds", "From an answer's end to its verdict.", buckets=SECONDS, registry=registry
        )

    def judged(self, outcome: GuardOutcome, seconds: float) -> None:
        self._responses.labels(outcome).inc()
        self._seconds.observe(seconds)


logger = logging.getLogger(__name__)

GUARD_HEADER = b"x-salus-guard"
_JSON = b"application/json"
_STREAM = b"text/event-stream"
_UNREADABLE = "The endpoint's guard reads texts alone: send messages or prompts as text, not as tokens or pictures."


class ServeGuard:
    """ASGI middleware between whoever keeps answers and the app that gives them.

    A request for answers: one that the guard cannot read is refused -> the app answers, into memory -> anything but
    200 goes on as it is -> the answers are judged -> all safe: the response as it came, part by part -> one is unsafe:
    the template in its place, or an error -> no verdict (the guard fails, is slow or unsure, or cannot read the
    response): an error, unless the settings say that it may pass. Nothing of a good response is sent before.
    """

    def __init__(
        self,
        app: ASGIApp,
        config: GuardConfig,
        guard: AnswerGuard,
        version: Callable[[], str],
        meter: GuardMeter,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`version`: the policy that answers now. `clock`: seconds, never set back."""
        self._app = app
        self._config = config
        self._guard = guard
        self._version = version
        self._meter = meter
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = find_route(route_path(scope)) if scope["type"] == "http" else None
        if route is None or not route.generates or scope["method"] not in route.methods:
            await self._app(scope, receive, send)
            return
        body = await _body(receive)
        if body is None:
            return
        began_s = self._clock()
        try:
            question = question_of(body, "chat" in route.template)
        except Unreadable:
            # Whatever the settings say of a guard that is down: this one is well, and the request is not for it.
            await self._refuse("unreadable", send, Refused(400, _UNREADABLE, "guard_unreadable"), began_s)
            return
        state: dict[str, Any] = scope.setdefault("state", {})

        def begins() -> None:
            state[ANSWERED_BY] = self._version()

        held = HeldResponse(send, self._config.max_answer_bytes, begins)
        await self._app(scope, replayed(body, receive), held)
        if held.begun:
            await self._decide(question, held, send)

    async def _decide(self, question: RequestTexts, held: HeldResponse, send: Send) -> None:
        began_s = self._clock()
        try:
            response = _response(held)
            if response.failed:
                # What there is of an answer ends here: it is not whole, and nobody has judged it.
                await _send(send, held, errors_of(response), [])
                return
            verdicts = await self._verdicts(question, response)
            unsafe = [index for index, verdict in verdicts.items() if verdict == "unsafe"]
            known = "unknown" not in verdicts.values() or (bool(unsafe) and self._config.when_unavailable == "pass")
        except (Unreadable, GuardUnavailable, TimeoutError) as error:
            logger.warning("An answer was not judged: %s", str(error) or type(error).__name__)
            known = False
        if not known:
            await self._unjudged(held, send, began_s)
        elif not unsafe:
            await self._deliver("passed", held, send, held.parts, began_s)
        elif self._config.action == "replace":
            await self._deliver("replaced", held, send, replaced(response, unsafe, self._config.template), began_s)
        else:
            refused = Refused(400, "The answer was held back: the endpoint's guard found it unsafe.", "content_filter")
            await self._refuse("blocked", send, refused, began_s)

    async def _verdicts(self, question: RequestTexts, response: Response) -> dict[int, Verdict]:
        exchanges = response.exchanges(question)
        async with asyncio.timeout(self._config.timeout_s):
            verdicts = await self._guard.judge(list(exchanges.values()))
        return dict(zip(exchanges, verdicts, strict=True))

    async def _unjudged(self, held: HeldResponse, send: Send, began_s: float) -> None:
        # One that is too long was not kept.
        if self._config.when_unavailable == "pass" and held.complete and not held.too_long:
            await self._deliver("unavailable", held, send, held.parts, began_s)
            return
        sentence = "The answer could not be judged, so it was held back; ask again, for text and for less of it."
        await self._refuse("unavailable", send, Refused(503, sentence, "guard_unavailable"), began_s)

    async def _deliver(
        self, outcome: GuardOutcome, held: HeldResponse, send: Send, parts: list[bytes], began_s: float
    ) -> None:
        self._meter.judged(outcome, self._clock() - began_s)
        await _send(send, held, parts, [(GUARD_HEADER, outcome.encode())])

    async def _refuse(self, outcome: GuardOutcome, send: Send, refused: Refused, began_s: float) -> None:
        self._meter.judged(outcome, self._clock() - began_s)
        body = refused.body()
        headers = [(b"content-type", _JSON), (b"content-length", str(len(body)).encode())]
        start = {"type": "http.response.start", "status": refused.status}
        await send({**start, "headers": [*headers, (GUARD_HEADER, outcome.encode())]})
        await send({"type": "http.response.body", "body": body, "more_body": False})


def _response(held: HeldResponse) -> Response:
    """What was held, as it can be read. Raises Unreadable."""
    headers = dict(held.headers)
    kind = headers.get(b"content-type", b"")
    readable = kind.startswith((_JSON, _STREAM)) and b"content-encoding" not in headers
    if not readable or held.too_long or not held.complete:
        raise Unreadable("a response of another kind, too long, or not whole")
    return response_of(b"".join(held.parts), kind.startswith(_STREAM))


async def _body(receive: Receive) -> bytes | None:
    """The request's body, whose length the gateway has bounded; None where the client left."""
    parts: list[bytes] = []
    while True:
        message: Message = await receive()
        if message["type"] != "http.request":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


async def _send(send: Send, held: HeldResponse, parts: list[bytes], more: list[Header]) -> None:
    """The held start, and these parts in the place of its body."""
    kept = [header for header in held.headers if header[0] not in (b"content-length", GUARD_HEADER)]
    streamed = dict(kept).get(b"content-type", b"").startswith(_STREAM)
    length = [] if streamed else [(b"content-length", str(sum(map(len, parts))).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": [*kept, *length, *more]})
    for part in parts[:-1]:
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": parts[-1] if parts else b"", "more_body": False})
