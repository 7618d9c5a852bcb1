"""The meter of one process, in a registry of its own: what `/metrics` of a replica shows."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from actors.serve.gateway.meter import SECONDS, FinishedRequest


class PrometheusMeter:
    """Counts in `registry`; `prometheus_client.make_asgi_app(meter.registry)` is the app that shows it."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        # Not the process's registry: the engine's metrics lie there, and a second meter would not fit beside the first.
        self.registry = registry if registry is not None else CollectorRegistry()
        self._requests = Counter(
            "salus_requests", "Requests answered.", ["route", "method", "status", "role", "version"],
            registry=self.registry,
        )  # fmt: skip
        self._seconds = Histogram(
            "salus_request_seconds", "From the request's head to the answer's end.", ["route", "status", "version"],
            buckets=SECONDS, registry=self.registry,
        )  # fmt: skip
        self._tokens = Counter(
            "salus_tokens", "Tokens of prompts and answers, where answers say them.", ["kind", "role", "version"],
            registry=self.registry,
        )  # fmt: skip
        self._running = Gauge("salus_requests_running", "Requests under way.", ["route"], registry=self.registry)

    def started(self, route: str) -> None:
        self._running.labels(route).inc()

    def finished(self, request: FinishedRequest) -> None:
        status, version = request.status_class, request.version
        self._running.labels(request.route).dec()
        self._requests.labels(request.route, request.method, status, request.role, version).inc()
        self._seconds.labels(request.route, status, version).observe(request.seconds)
        for kind, count in request.tokens._asdict().items():
            if count:
                self._tokens.labels(kind, request.role, version).inc(count)
