"""The guard before the served app: what becomes of an answer once it was judged; and its metrics."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Histogram

from actors.serve.gateway.exchange import JSON_KIND, AnswerContent, ServedAnswer, ServedExchange
from actors.serve.gateway.refusal import Header, Refused
from actors.serve.guard.config import GuardConfig
from actors.serve.guard.model import AnswerGuard, GuardUnavailable, Verdict
from actors.serve.guard.response import errors_of, replaced
from actors.serve.guard.texts import RequestTexts, Unreadable, failed, question_of, to_judge

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
_UNREADABLE = "The endpoint's guard reads texts alone: send messages or prompts as text, not as tokens or pictures."
_UNSAFE = Refused(400, "The answer was held back: the endpoint's guard found it unsafe.", "content_filter")
_UNJUDGED = Refused(
    503,
    "The answer could not be judged, so it was held back; ask again, for text and for less of it.",
    "guard_unavailable",
)
_OK = 200


class ServeGuard:
    """Decides what goes out of the answers that the gateway holds back for it.

    - A request for answers that the guard cannot read is refused.
    - The app answers into memory. Anything but 200 goes on as it is.
    - The answers are judged. Where all are safe, the response goes out as it came, part by part.
    - Where one is unsafe, the template is sent in its place, or an error.
    - Without a verdict an error is sent, unless the settings let the response pass. So it is where the guard fails, is
      slow or unsure, or cannot read the response.

    Nothing of a good response is sent before its verdict.
    """

    def __init__(
        self, config: GuardConfig, guard: AnswerGuard, meter: GuardMeter, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`clock`: seconds, never set back."""
        self.most_bytes = config.max_answer_bytes
        self._config = config
        self._guard = guard
        self._meter = meter
        self._clock = clock

    async def given(self, exchange: ServedExchange, ask: Callable[[], Awaitable[None]]) -> ServedAnswer | None:
        """What goes out; None where the app's answer was no good one, and has gone out."""
        began_s = self._clock()
        try:
            question = question_of(exchange.asked, exchange.is_chat)
        except Unreadable:
            # Whatever the settings say of a guard that is down: this one is well, and the request is not for it.
            refused = Refused(400, _UNREADABLE, "guard_unreadable")
            return self._refused("unreadable", exchange.answer, refused, began_s)
        await ask()
        return await self._decided(question, exchange.answer) if exchange.answer.status == _OK else None

    async def _decided(self, question: RequestTexts, held: ServedAnswer) -> ServedAnswer:
        began_s = self._clock()
        content = held.content if held.complete and held.size <= self.most_bytes else None
        if content is not None and failed(content):
            # The answer ends here: it is not whole, and was not judged.
            return _instead(held, errors_of(content))
        try:
            verdicts = await self._verdicts(question, content)
        except (Unreadable, GuardUnavailable, TimeoutError) as error:
            logger.warning("An answer was not judged: %s", str(error) or type(error).__name__)
            return self._unjudged(held, began_s)
        unsafe = [index for index, verdict in verdicts.items() if verdict == "unsafe"]
        if "unknown" in verdicts.values() and not (unsafe and self._config.when_unavailable == "pass"):
            return self._unjudged(held, began_s)
        if not unsafe:
            return self._delivered("passed", held, None, began_s)
        if self._config.action == "block" or content is None:
            return self._refused("blocked", held, _UNSAFE, began_s)
        return self._delivered("replaced", held, replaced(content, unsafe, self._config.template), began_s)

    async def _verdicts(self, question: RequestTexts, content: AnswerContent | None) -> dict[int, Verdict]:
        if content is None:
            raise Unreadable("a response of another kind, too long, or not whole")
        exchanges = to_judge(content.chat, question)
        async with asyncio.timeout(self._config.timeout_s):
            verdicts = await self._guard.judge(list(exchanges.values()))
        return dict(zip(exchanges, verdicts, strict=True))

    def _unjudged(self, held: ServedAnswer, began_s: float) -> ServedAnswer:
        # One that is too long was not kept.
        if self._config.when_unavailable == "pass" and held.complete and held.size <= self.most_bytes:
            return self._delivered("unavailable", held, None, began_s)
        return self._refused("unavailable", held, _UNJUDGED, began_s)

    def _delivered(
        self, outcome: GuardOutcome, held: ServedAnswer, other: AnswerContent | None, began_s: float
    ) -> ServedAnswer:
        self._meter.judged(outcome, self._clock() - began_s)
        return _instead(held, other, (GUARD_HEADER, outcome.encode()))

    def _refused(self, outcome: GuardOutcome, held: ServedAnswer, refused: Refused, began_s: float) -> ServedAnswer:
        self._meter.judged(outcome, self._clock() - began_s)
        body = refused.body()
        length = (b"content-length", str(len(body)).encode())
        said = [(b"content-type", JSON_KIND), length, (GUARD_HEADER, outcome.encode())]
        return held.instead(refused.status, said, [body], None)


def _instead(held: ServedAnswer, other: AnswerContent | None, *more: Header) -> ServedAnswer:
    """The held start, and behind it what was held, or another content."""
    parts = held.parts if other is None else other.written()
    kept = [header for header in held.headers if header[0] not in (b"content-length", GUARD_HEADER)]
    length = [] if held.streamed else [(b"content-length", str(sum(map(len, parts))).encode())]
    return held.instead(_OK, [*kept, *length, *more], parts, held.content if other is None else other)
