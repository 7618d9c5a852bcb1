"""The meter of a cluster: Ray gathers it from every replica and shows it at its own Prometheus port."""

from __future__ import annotations

from collections import Counter as Tally

from ray.util.metrics import Counter, Gauge, Histogram

from actors.serve.gateway.meter import SECONDS, FinishedRequest


class RayMeter:
    """Counts through Ray, under the names of `PrometheusMeter` with `ray_` before them."""

    def __init__(self) -> None:
        self._requests = Counter(
            "salus_requests", "Requests answered.", ("route", "method", "status", "role", "version")
        )
        self._seconds = Histogram(
            "salus_request_seconds",
            "From the request's head to the answer's end.",
            list(SECONDS),
            ("route", "status", "version"),
        )
        self._tokens = Counter(
            "salus_tokens", "Tokens of prompts and answers, where answers say them.", ("kind", "role", "version")
        )
        self._running = Gauge("salus_requests_running", "Requests under way.", ("route",))
        # Ray's gauge can only be set.
        self._now: Tally[str] = Tally()

    def started(self, route: str) -> None:
        self._run(route, 1)

    def finished(self, request: FinishedRequest) -> None:
        self._run(request.route, -1)
        seen = {"route": request.route, "status": request.status_class, "version": request.version}
        self._requests.inc(tags={**seen, "method": request.method, "role": request.role})
        self._seconds.observe(request.seconds, tags=seen)
        for kind, count in request.tokens._asdict().items():
            # Ray's counter refuses to be raised by 0.
            if count:
                self._tokens.inc(count, tags={"kind": kind, "role": request.role, "version": request.version})

    def _run(self, route: str, more: int) -> None:
        self._now[route] += more
        self._running.set(self._now[route], tags={"route": route})
