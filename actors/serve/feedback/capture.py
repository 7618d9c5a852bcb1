"""ASGI middleware that keeps a conversation where its caller asked for that, and is never in the way of an answer.

A request asks with OpenAI's own `"store": true`. An answer that its request steered (`ChatRequest.unsteered`) is not
kept: nobody may train on words that a client put into the policy's mouth. Every chunk is passed on at once; what is
kept is read, redacted and handed to the sink after the last one, in a task of its own, whose faults are logged and
counted and go nowhere. What cannot be redacted in time is not kept.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Literal

from starlette.types import ASGIApp, Receive, Scope, Send

from actors.errors import SalusError
from actors.serve.feedback.config import FeedbackConfig
from actors.serve.feedback.exchange import ChatAnswer, HttpExchange, answered, is_chat, pass_on, read_request
from actors.serve.feedback.records import CapturedAnswer, Clock, Turn, conversation_json, utc_now
from actors.serve.feedback.redaction import NotRedacted, Redaction
from actors.serve.feedback.redaction_process import redacted_exchange
from actors.serve.feedback.sink import FeedbackSink, OverQuota
from actors.serve.gateway.caller import answered_by, caller_name

# What became of a chat request that passed.
CaptureOutcome = Literal[
    "captured", "not_asked", "steered", "no_answer", "too_large", "over_quota", "not_redacted", "fault"
]  # fmt: skip

_log = logging.getLogger(__name__)


class CaptureMiddleware:
    """Stands between a gateway, which bounds requests and finds the caller, and the chat endpoint."""

    def __init__(
        self,
        app: ASGIApp,
        sink: FeedbackSink,
        redaction: Redaction,
        config: FeedbackConfig,
        version: Callable[[], str] | None = None,
        count: Callable[[CaptureOutcome], None] = lambda outcome: None,
        clock: Clock = utc_now,
    ) -> None:
        """`version`: the policy that answers now; None: the response's header `x-salus-policy` says it.

        `count` is told every outcome.
        """
        self._app = app
        self._sink = sink
        self._redaction = redaction
        self._config = config
        self._version = version
        self._count = count
        self._clock = clock
        self._running: set[asyncio.Task[CaptureOutcome]] = set()
        self.outcomes: Counter[CaptureOutcome] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._config.capture == "never" or not is_chat(scope):
            await self._app(scope, receive, send)
            return
        version = self._version
        exchange = HttpExchange(
            self._config.max_request_bytes,
            self._config.max_response_bytes,
            version=None if version is None else lambda: answered_by(scope.get("state") or {}, version),
        )
        await pass_on(self._app, scope, receive, send, exchange, lambda: self._keep(scope, exchange))

    async def _keep(self, scope: Scope, exchange: HttpExchange) -> None:
        task = asyncio.create_task(self._capture(scope, exchange))
        self._running.add(task)
        task.add_done_callback(self._ended)
        # The client has its answer. Waiting only keeps work from piling up behind a slow sink, and raises nothing.
        await asyncio.wait({task}, timeout=self._config.timeout_s)

    def _ended(self, task: asyncio.Task[CaptureOutcome]) -> None:
        self._running.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            # The texts of other errors may hold what was to be redacted.
            said = error.sentence if isinstance(error, SalusError) else type(error).__name__
            _log.error("An answer was given and not kept: %s", said)
        outcome: CaptureOutcome = "fault"
        if isinstance(error, NotRedacted):
            outcome = "not_redacted"
        elif error is None and not task.cancelled():
            outcome = task.result()
        self.outcomes[outcome] += 1
        self._count(outcome)

    async def _capture(self, scope: Scope, exchange: HttpExchange) -> CaptureOutcome:
        if exchange.too_large:
            return "too_large"
        request = read_request(exchange, opted_in=True)
        turns = request.turns() if request is not None else None
        if request is None or turns is None:
            return "not_asked"
        if not request.unsteered:
            return "steered"
        said = answered(exchange)
        if said is None:
            return "no_answer"
        if max(len(said.answer), *(len(turn.content) for turn in turns)) > self._config.max_text_chars:
            return "too_large"
        turns, (answer,) = await redacted_exchange(self._redaction, turns, said.answer)
        try:
            await self._sink.captured(self._answer(scope, exchange, said, turns, answer))
        except OverQuota:
            return "over_quota"
        return "captured"

    def _answer(
        self, scope: Mapping[str, Any], exchange: HttpExchange, said: ChatAnswer, turns: tuple[Turn, ...], answer: str
    ) -> CapturedAnswer:
        return CapturedAnswer(
            answer_id=said.answer_id,
            policy=exchange.policy,
            caller=caller_name(scope),
            prompt=turns[-1].content,
            conversation=conversation_json(turns),
            answer=answer,
            finish_reason=said.finish_reason,
            at=self._clock(),
        )
