"""A pace for requests that somebody else counts: evenly spaced, every attempt included."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable


class RequestPace:
    """At most `per_minute` requests a minute, one every 60 / per_minute seconds; None: as fast as they come.

    It holds no lock and belongs to no event loop: a turn is taken in one step and then waited for.
    """

    def __init__(self, per_minute: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._gap_s = 60.0 / per_minute if per_minute else 0.0
        self._clock = clock
        self._next_s = float("-inf")

    def take(self) -> float:
        """Take the next turn; returns how many seconds away it is."""
        now = self._clock()
        turn = max(now, self._next_s)
        self._next_s = turn + self._gap_s
        return turn - now

    async def __call__(self, request: object) -> None:
        """Wait for a turn before `request` is sent."""
        await asyncio.sleep(self.take())
