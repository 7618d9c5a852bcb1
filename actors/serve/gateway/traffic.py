"""The requests of the last minute: what each replica counts, and all of them put together."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence

import numpy as np

from actors.contract.records import Record
from actors.serve.gateway.meter import FinishedRequest
from actors.serve.pages.dashboard_data import Traffic

WINDOW_S = 60.0
# A replica that answers more than these in a window tells of the latest.
_MOST = 20_000
_CLIENT_ERROR, _SERVER_ERROR = 400, 500


class ReplicaTraffic(Record):
    """What one replica answered in the last `window_s` seconds; `seconds` of each answer, oldest first."""

    window_s: float
    seconds: tuple[float, ...]
    errors: int


class TrafficWindow:
    """Counts the requests of one replica that asked for answers; a `Meter`."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, window_s: float = WINDOW_S) -> None:
        self._clock = clock
        self._window_s = window_s
        self._began = clock()
        # When each ended, how long it took, and its status.
        self._ended: deque[tuple[float, float, int]] = deque(maxlen=_MOST)

    def started(self, route: str) -> None:
        """Only what has ended counts."""

    def finished(self, request: FinishedRequest) -> None:
        if request.route.endswith("completions"):
            self._ended.append((self._clock(), request.seconds, request.status))

    def seen(self) -> ReplicaTraffic:
        """The window up to now; shorter for a replica that is younger."""
        now = self._clock()
        recent = [(seconds, status) for at, seconds, status in self._ended if at > now - self._window_s]
        return ReplicaTraffic(
            window_s=min(self._window_s, max(now - self._began, 1.0)),
            seconds=tuple(round(seconds, 4) for seconds, _ in recent),
            errors=sum(status >= _SERVER_ERROR for _, status in recent),
        )

    def begun_within(self, seconds: float) -> ReplicaTraffic:
        """The answers to what was asked in the last `seconds`, so far; what was refused, or given up, is left out.

        Errors are not among the answers.
        """
        asked = [(took, status) for at, took, status in self._ended if at - took > self._clock() - seconds]
        return ReplicaTraffic(
            window_s=seconds,
            seconds=tuple(round(took, 4) for took, status in asked if status < _CLIENT_ERROR),
            errors=sum(status >= _SERVER_ERROR for _, status in asked),
        )


def together(replicas: Sequence[ReplicaTraffic]) -> Traffic | None:
    """The traffic of an endpoint from that of its replicas; None where there is none that lives."""
    if not replicas:
        return None
    seconds = np.concatenate([np.asarray(replica.seconds, dtype=float) for replica in replicas])
    p50, p99 = (float(q) for q in np.quantile(seconds, (0.5, 0.99))) if seconds.size else (None, None)
    return Traffic(
        window_s=max(replica.window_s for replica in replicas),
        requests=seconds.size,
        requests_per_s=sum(len(replica.seconds) / replica.window_s for replica in replicas),
        p50_s=p50,
        p99_s=p99,
        errors=sum(replica.errors for replica in replicas),
    )
