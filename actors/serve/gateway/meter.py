"""What is measured of each request: the port it is told to, and meters of one process and of the whole cluster."""

from __future__ import annotations

import collections
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from ray.util import metrics as ray_metrics

from actors.serve.api.responses import is_response, usage_of


class TokenCount(NamedTuple):
    """Tokens of one request; None where the answer does not say, as a stream without `include_usage`."""

    prompt: int | None = None
    completion: int | None = None


NOT_SAID = TokenCount()


def tokens_of(said: object) -> TokenCount:
    """The tokens that an answer took, as its JSON object says, or the last one of a stream."""
    if not isinstance(said, dict):
        return NOT_SAID
    usage = usage_of(said) if is_response([said]) else said.get("usage")
    if not isinstance(usage, dict):
        return NOT_SAID
    return TokenCount(_count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens")))


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and value >= 0 else None


# Where an answer counts as slow depends on the model: from a refusal's millisecond to minutes of streaming.
SECONDS = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 180.0)
# No known key: a request that was refused for it, or a free route.
NOBODY = "none"
# The client left before it was answered; nginx's number for it.
CLIENT_GONE = 499


class FinishedRequest(NamedTuple):
    """One request, when its answer is out. `route` is a template, `version` the policy that answered."""

    route: str
    method: str
    status: int
    seconds: float
    role: str = NOBODY
    version: str = NOBODY
    tokens: TokenCount = NOT_SAID

    @property
    def status_class(self) -> str:
        """As 2xx."""
        return f"{self.status // 100}xx"


class Meter(Protocol):
    """Is told of every request twice; must be quick and never raise."""

    def started(self, route: str) -> None: ...

    def finished(self, request: FinishedRequest) -> None: ...


class Meters:
    """Several meters as one."""

    def __init__(self, meters: Sequence[Meter]) -> None:
        self._meters = tuple(meters)

    def started(self, route: str) -> None:
        for meter in self._meters:
            meter.started(route)

    def finished(self, request: FinishedRequest) -> None:
        for meter in self._meters:
            meter.finished(request)


class PrometheusMeter:
    """Counts in `registry`; `prometheus_client.make_asgi_app(meter.registry)` is the app that shows it."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        # Not the process's registry: the engine's metrics are there, and a second meter would not fit beside the first.
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


class RayMeter:
    """Counts through Ray, under the names of `PrometheusMeter` with `ray_` before them."""

    def __init__(self) -> None:
        self._requests = ray_metrics.Counter(
            "salus_requests", "Requests answered.", ("route", "method", "status", "role", "version")
        )
        self._seconds = ray_metrics.Histogram(
            "salus_request_seconds",
            "From the request's head to the answer's end.",
            list(SECONDS),
            ("route", "status", "version"),
        )
        self._tokens = ray_metrics.Counter(
            "salus_tokens", "Tokens of prompts and answers, where answers say them.", ("kind", "role", "version")
        )
        self._running = ray_metrics.Gauge("salus_requests_running", "Requests under way.", ("route",))
        # Ray's gauge can only be set.
        self._now: collections.Counter[str] = collections.Counter()

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
