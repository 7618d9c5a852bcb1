"""Hands a sampled share of live answers to a challenger.

The challenger's answer does not come back, only its outcome, and no client waits for that. What does not fit in the
queue is dropped and counted. A fault is logged and counted, and goes nowhere.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from typing import Literal, Protocol

from actors.contract.seeds import derive_seed
from actors.errors import SalusError, own_error
from actors.serve.feedback.config import FeedbackConfig
from actors.serve.feedback.records import UNKNOWN_POLICY, Clock, utc_now
from actors.serve.gateway.exchange import ServedAnswer, ServedExchange
from actors.serve.shadow.config import MOST_BYTES, ShadowConfig
from actors.serve.shadow.records import LiveAnswer, Taken

# Why a chat request was not handed over.
Passed = Literal["not_asked", "not_drawn", "no_answer", "too_large", "other_settings"]
ShadowOutcome = Taken | Passed | Literal["fault"]
_DRAWS = 2**31
_log = logging.getLogger(__name__)


def drawn(answer_id: str, share: float, seed: int) -> bool:
    """Whether an answer is among the `share`; the same on every replica and every day."""
    return derive_seed(seed, "shadow", answer_id) < share * _DRAWS


class Challenger(Protocol):
    """Answers what was answered live."""

    async def take(self, live: LiveAnswer) -> Taken:
        """Return when both answers are durable, or at once where they never will be. Raises whatever it likes."""


class ShadowSampler:
    """Reads the exchanges of a gateway, which bounds requests."""

    def __init__(
        self,
        challenger: Challenger,
        config: ShadowConfig,
        bounds: FeedbackConfig,
        count: Callable[[str], None] = lambda outcome: None,
        clock: Clock = utc_now,
        limit: int | None = None,
    ) -> None:
        """`bounds`: of what is read; `count` is told every outcome.

        `limit`: the most tokens of an answer at this endpoint; None: the model's own limit.
        """
        self.most_bytes = bounds.max_response_bytes
        self._challenger = challenger
        self._config = config
        self._bounds = bounds
        self._count = count
        self._clock = clock
        self._limit = limit
        self._waiting = 0
        self._running: set[asyncio.Task[ShadowOutcome]] = set()
        self._well = True
        self.outcomes: Counter[ShadowOutcome] = Counter()

    async def read(self, exchange: ServedExchange, given: ServedAnswer) -> None:
        """Hand over what is drawn; returns at once."""
        if not exchange.is_chat:
            return
        task = asyncio.create_task(self._hand_over(exchange, given))
        self._running.add(task)
        task.add_done_callback(self._ended)

    async def _hand_over(self, exchange: ServedExchange, given: ServedAnswer) -> ShadowOutcome:
        live = self._live(exchange, given)
        if not isinstance(live, LiveAnswer):
            return live
        if self._waiting >= self._config.queue:
            return "dropped"
        self._waiting += 1
        try:
            return await asyncio.wait_for(self._challenger.take(live), self._config.timeout_s)
        finally:
            self._waiting -= 1

    def _live(self, exchange: ServedExchange, given: ServedAnswer) -> LiveAnswer | Passed:
        if exchange.size > self._bounds.max_request_bytes or given.size > self._bounds.max_response_bytes:
            return "too_large"
        request = exchange.chat if exchange.may_be_kept or self._config.consent == "given" else None
        turns = request.turns() if request is not None else None
        if request is None or turns is None:
            return "not_asked"
        said = given.chat
        if said is None:
            return "no_answer"
        if not drawn(said.answer_id, self._config.share, self._config.seed):
            return "not_drawn"
        if not request.unsteered:
            return "other_settings"
        texts = (said.answer, *(turn.content for turn in turns))
        if max(map(len, texts)) > self._bounds.max_text_chars or sum(len(t.encode()) for t in texts) > MOST_BYTES:
            return "too_large"
        return LiveAnswer(
            answer_id=said.answer_id,
            policy=given.policy or UNKNOWN_POLICY,
            turns=turns,
            answer=said.answer,
            finish_reason=said.finish_reason,
            at=self._clock(),
            max_tokens=request.longest,
            temperature=request.temperature,
            top_p=request.top_p,
            limit=self._limit,
        )

    def _ended(self, task: asyncio.Task[ShadowOutcome]) -> None:
        self._running.discard(task)
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        outcome: ShadowOutcome = task.result() if error is None else "fault"
        self.outcomes[outcome] += 1
        self._count(outcome)
        # A challenger that is down would fill the log; the texts of other errors may hold a prompt.
        if error is not None and self._well:
            own = error if isinstance(error, SalusError) else own_error(error)
            said = own.sentence if own is not None else type(error).__name__
            _log.error("A challenger's answer is not kept (%s); serving goes on.", said)
        if error is not None or outcome == "stored":
            self._well = error is None
