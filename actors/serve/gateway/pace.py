"""How often each key may ask: a token bucket for each, refilled by the clock."""

from __future__ import annotations

import time
from collections.abc import Callable


class Pace:
    """At most `burst` requests at once, and `per_minute` a minute from then on; None: as many as come.

    It belongs to one event loop. There are no more buckets than keys.
    """

    def __init__(self, per_minute: float | None, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_s = None if per_minute is None else per_minute / 60.0
        self._burst = float(burst)
        self._clock = clock
        # By name: what was left, and when (s).
        self._buckets: dict[str, tuple[float, float]] = {}

    def wait_s(self, name: str) -> float:
        """Take one from a key's bucket; 0 where there was one, else the seconds until there is."""
        if self._per_s is None:
            return 0.0
        now_s = self._clock()
        left, then_s = self._buckets.get(name, (self._burst, now_s))
        left = min(self._burst, left + (now_s - then_s) * self._per_s)
        granted = left >= 1.0
        self._buckets[name] = (left - 1.0 if granted else left, now_s)
        return 0.0 if granted else (1.0 - left) / self._per_s
