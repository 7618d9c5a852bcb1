"""Judges what waits together: one queue, and one call of the engine for all that has come meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from actors.serve.guard.model import GuardUnavailable, JudgedExchange, Verdict

Judge = Callable[[Sequence[JudgedExchange]], list[Verdict]]


@dataclass(slots=True)
class _Waiting:
    exchange: JudgedExchange
    verdict: asyncio.Future[Verdict]
    # Its asker has gone after that.
    until_s: float


class BatchingGuard:
    """Asks a judge in a thread of its own, at most `max_batch` at a time. One event loop; life: judge*.

    What waited for longer than `timeout_s` is not judged any more, because its asker has gone. A queue that is too long
    would otherwise never get shorter.
    """

    def __init__(
        self, build: Callable[[], Judge], max_batch: int, timeout_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`build` makes the judge, in the thread that will ask it."""
        self._max_batch = max_batch
        self._timeout_s = timeout_s
        self._clock = clock
        self._waiting: deque[_Waiting] = deque()
        self._working: asyncio.Task[None] | None = None
        # Always the same one: an engine is not for two.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="guard")
        self._judge = self._thread.submit(build).result()

    async def judge(self, exchanges: Sequence[JudgedExchange]) -> list[Verdict]:
        """A verdict on each. Raises GuardUnavailable where they had to wait for too long, or as the judge does."""
        loop = asyncio.get_running_loop()
        until_s = self._clock() + self._timeout_s
        asked = [_Waiting(exchange, loop.create_future(), until_s) for exchange in exchanges]
        self._waiting += asked
        if self._working is None or self._working.done():
            self._working = loop.create_task(self._work())
        return list(await asyncio.gather(*(each.verdict for each in asked)))

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while batch := self._next():
            try:
                verdicts = await loop.run_in_executor(self._thread, self._judge, [each.exchange for each in batch])
            except Exception as error:  # Whatever an engine raises is for those who asked, and ends nothing here.
                for each in batch:
                    _settle(each.verdict, error)
            else:
                for each, verdict in zip(batch, verdicts, strict=True):
                    _settle(each.verdict, verdict)

    def _next(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        while self._waiting and len(batch) < self._max_batch:
            each = self._waiting.popleft()
            if self._clock() > each.until_s:
                _settle(each.verdict, GuardUnavailable("the guard has too much to judge"))
            elif not each.verdict.done():
                batch.append(each)
        return batch


def _settle(verdict: asyncio.Future[Verdict], said: Verdict | Exception) -> None:
    if verdict.done():
        return
    if isinstance(said, Exception):
        verdict.set_exception(said)
    else:
        verdict.set_result(said)
