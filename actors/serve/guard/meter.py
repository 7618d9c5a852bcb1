"""What a guard did and how long it took, on a replica's `/metrics`."""

from __future__ import annotations

from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Histogram

# What becomes of a response.
Outcome = Literal["passed", "replaced", "blocked", "unavailable", "unreadable"]
# From a look at some words to an engine that is busy.
SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class GuardMeter:
    """Counts in `registry`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._responses = Counter("salus_guard_responses", "Responses judged.", ["outcome"], registry=registry)
        self._seconds = Histogram(
            "salus_guard_seconds", "From an answer's end to its verdict.", buckets=SECONDS, registry=registry
        )

    def judged(self, outcome: Outcome, seconds: float) -> None:
        self._responses.labels(outcome).inc()
        self._seconds.observe(seconds)
