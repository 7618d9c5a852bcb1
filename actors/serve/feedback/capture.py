"""Keeps a conversation where its caller asked for that, and is never in the way of an answer.

A request asks with OpenAI's own `"store": true`. An answer that its request steered (`ChatRequest.unsteered`) is not
kept: a client that chooses the policy's words must not train it. What is kept is redacted and handed to the
sink after the client has its answer, in a task of its own. Faults of that task are logged and counted, and change
nothing else. What cannot be redacted in time is not kept.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from typing import Literal

from actors.contract.conversation import conversation_json
from actors.errors import SalusError
from actors.serve.feedback.config import FeedbackConfig
from actors.serve.feedback.records import UNKNOWN_POLICY, CapturedAnswer, Clock, utc_now
from actors.serve.feedback.redaction import NotRedacted, Redaction
from actors.serve.feedback.redaction_process import redacted_exchange
from actors.serve.feedback.sink import FeedbackSink, OverQuota
from actors.serve.gateway.exchange import ServedAnswer, ServedExchange

# What became of a chat request that passed.
CaptureOutcome = Literal[
    "captured", "not_asked", "steered", "no_answer", "too_large", "over_quota", "not_redacted", "fault"
]  # fmt: skip

_log = logging.getLogger(__name__)


class AnswerCapture:
    """Reads the exchanges of a gateway, which bounds requests and finds the caller."""

    def __init__(
        self,
        sink: FeedbackSink,
        redaction: Redaction,
        config: FeedbackConfig,
        count: Callable[[CaptureOutcome], None] = lambda outcome: None,
        clock: Clock = utc_now,
    ) -> None:
        """`count` is told every outcome."""
        self.most_bytes = config.max_response_bytes
        self._sink = sink
        self._redaction = redaction
        self._config = config
        self._count = count
        self._clock = clock
        self._running: set[asyncio.Task[CaptureOutcome]] = set()
        self.outcomes: Counter[CaptureOutcome] = Counter()

    async def read(self, exchange: ServedExchange, given: ServedAnswer) -> None:
        """Keep what the client got, where it asked for that."""
        if self._config.capture == "never" or not exchange.is_chat:
            return
        task = asyncio.create_task(self._capture(exchange, given))
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

    async def _capture(self, exchange: ServedExchange, given: ServedAnswer) -> CaptureOutcome:
        if exchange.size > self._config.max_request_bytes or given.size > self._config.max_response_bytes:
            return "too_large"
        request = exchange.chat if exchange.may_be_kept else None
        turns = request.turns() if request is not None else None
        if request is None or turns is None:
            return "not_asked"
        if not request.unsteered:
            return "steered"
        said = given.chat
        if said is None or not said.answer:
            return "no_answer"
        if max(len(said.answer), *(len(turn.content) for turn in turns)) > self._config.max_text_chars:
            return "too_large"
        turns, (answer,) = await redacted_exchange(self._redaction, turns, said.answer)
        kept = CapturedAnswer(
            answer_id=said.answer_id,
            policy=given.policy or UNKNOWN_POLICY,
            caller=exchange.caller,
            prompt=turns[-1].content,
            conversation=conversation_json(turns),
            answer=answer,
            finish_reason=said.finish_reason,
            at=self._clock(),
        )
        try:
            await self._sink.captured(kept)
        except OverQuota:
            return "over_quota"
        return "captured"
