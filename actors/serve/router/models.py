"""What a router says of all its models together: their names, metrics and traffic, and whether all are ready."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample
from ray.exceptions import RayError

from actors.contract.actor_address import ActorAddress
from actors.serve.gateway.answer import VERSION_HEADER
from actors.serve.gateway.refusal import Header
from actors.serve.gateway.traffic import ReplicaTraffic, together
from actors.serve.pages.dashboard_data import Traffic
from actors.serve.publisher.replica_calls import Replicas
from actors.serve.replica.app import deployment_name
from actors.serve.router.actor import ACTOR, ask_routes
from actors.serve.router.applications import application_name
from actors.serve.router.lanes import RouteLane
from actors.serve.router.routes import Route
from actors.serve.router.upstream import Ask, Unreachable, UpstreamReply, Upstreams, without_body

if TYPE_CHECKING:
    from actors.serve.config import PublisherConfig

# A request whose model is not served here: clients may name what they like, and metrics keep every name.
NOBODY = "none"


class RouterMeter:
    """Counts of one router replica, in a registry of its own."""

    def __init__(self, lanes: Mapping[str, RouteLane]) -> None:
        self.registry = CollectorRegistry()
        self._lanes = lanes
        self._requests = Counter(
            "salus_router_requests",
            "Requests passed on, or answered here.",
            ["model", "status"],
            registry=self.registry,
        )
        self._held = Gauge(
            "salus_router_held", "Requests that wait while their model moves.", ["model"], registry=self.registry
        )

    def answered(self, model: str, status: int) -> None:
        """One request has its answer."""
        self._requests.labels(model, f"{status // 100}xx").inc()

    def text(self, applications: Mapping[str, bytes]) -> bytes:
        """Prometheus's text of this router and of its applications, each of whose samples says its model."""
        for model, lane in self._lanes.items():
            self._held.labels(model).set(lane.waiting)
        together = CollectorRegistry()
        together.register(_Together(applications))
        return generate_latest(self.registry) + generate_latest(together)


class _Together(Collector):
    """The families of several texts, each once, with the label `model`."""

    def __init__(self, texts: Mapping[str, bytes]) -> None:
        self._texts = texts

    def collect(self) -> Iterable[Metric]:
        families: dict[str, Metric] = {}
        for model, text in self._texts.items():
            for family in text_string_to_metric_families(text.decode()):
                known = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
                known.samples += list(_labelled(family, model))
        return families.values()


def _labelled(family: Metric, model: str) -> Iterator[Sample]:
    for sample in family.samples:
        yield sample._replace(labels={**sample.labels, "model": model})


_OK = 200
_SERVER_FAULT = 500
# How long an application may take to say whether it is ready.
_READY_S = 5.0
_JSON: Header = (b"content-type", b"application/json")
_TEXT: Header = (b"content-type", b"text/plain; version=0.0.4; charset=utf-8")


class AnsweredInstead(Exception):
    """Ends a request with what an application answered to another in its place."""

    def __init__(self, reply: UpstreamReply) -> None:
        super().__init__(reply.status)
        self.reply = reply


class AllModels:
    """Asks each model's application for the same client; those that are down keep no other back."""

    def __init__(self, lanes: Mapping[str, RouteLane], upstreams: Upstreams, meter: RouterMeter) -> None:
        self._lanes = lanes
        self._upstreams = upstreams
        self._meter = meter

    async def let_in(self, ask: Ask) -> None:
        """Return where this client may list the models: strangers learn nothing of which there are.

        Raises:
            AnsweredInstead: what an application answers to it instead.
            Unreachable: none is up.
        """
        await self._each(_read(ask, "/v1/models"), most=1)

    async def models(self, ask: Ask) -> UpstreamReply:
        """One list of all models; raises as `let_in`."""
        replies = await self._each(_read(ask, "/v1/models"))
        data = [model for _, reply in replies for model in json.loads(reply.body)["data"]]
        return UpstreamReply(_OK, _kept(replies[0][1].headers), json.dumps({"object": "list", "data": data}).encode())

    async def metrics(self, ask: Ask) -> UpstreamReply:
        """The metrics of all models, and of this router; raises as `let_in`."""
        replies = await self._each(_read(ask, "/metrics"))
        headers = [header for header in _kept(replies[0][1].headers) if header[0] != _TEXT[0]]
        return UpstreamReply(_OK, [*headers, _TEXT], self._meter.text({model: reply.body for model, reply in replies}))

    async def health(self, ask: Ask) -> UpstreamReply:
        """That this router lives."""
        return UpstreamReply(_OK, [_JSON], b"{}")

    async def ready(self, ask: Ask) -> UpstreamReply:
        """Whether every model would be answered for at once; it does not wait."""
        lanes = list(self._lanes.items())
        ready = bool(lanes) and not any(lane.held for _, lane in lanes)
        if ready:
            asked = Ask("GET", "/ready", tuple(without_body(ask.headers)))
            says = [self._is_ready(model, lane, asked) for model, lane in lanes]
            ready = all(await asyncio.gather(*says))
        return UpstreamReply(_OK if ready else 503, [_JSON], json.dumps({"ready": ready}).encode())

    async def _is_ready(self, model: str, lane: RouteLane, asked: Ask) -> bool:
        try:
            async with asyncio.timeout(_READY_S):
                upstream = await self._upstreams.to(model, lane.route.prefix)
                return (await upstream.fetch(asked)).status == _OK
        except (TimeoutError, Unreachable):
            return False

    async def _each(self, ask: Ask, most: int | None = None) -> list[tuple[str, UpstreamReply]]:
        """The good answers, or `most` of them.

        Raises:
            AnsweredInstead: the answer of one that did not let the client in.
            Unreachable: none is up.
        """
        good: list[tuple[str, UpstreamReply]] = []
        for model, lane in list(self._lanes.items()):
            try:
                async with lane.passing() as route:
                    reply = await (await self._upstreams.to(model, route.prefix)).fetch(ask)
            except Unreachable:
                continue
            if reply.status >= _SERVER_FAULT:
                continue
            if reply.status != _OK:
                raise AnsweredInstead(reply)
            good.append((model, reply))
            if len(good) == most:
                break
        if not good:
            raise Unreachable("no application is up")
        return good


def _read(ask: Ask, path: str) -> Ask:
    """The same client's question for what is at `path`, not compressed."""
    return Ask("GET", path, tuple(header for header in without_body(ask.headers) if header[0] != b"accept-encoding"))


def _kept(headers: Iterable[Header]) -> list[Header]:
    """An application's headers for what was put together from several."""
    return [header for header in headers if header[0] != VERSION_HEADER and not header[0].startswith(b"content-l")]


class RoutedTraffic:
    """Asks the replicas of each model's present application; from any actor of the cluster."""

    def __init__(self, config: PublisherConfig, namespace: str) -> None:
        self._config = config
        self._namespace = namespace

    async def traffic(self) -> Traffic | None:
        """The last minute's; None while no replica answers."""
        table = ActorAddress(actor=ACTOR, namespace=self._namespace)
        try:
            known = await ask_routes(table, self._config.record_timeout_s)
        except (ValueError, TimeoutError, RayError):
            return None
        # An application that answers for several models is asked once.
        routes = {(each.route.group or each.route.model): each.route for each in known}
        asked = [asyncio.to_thread(self._asked, name, route) for name, route in routes.items()]
        replies = await asyncio.gather(*asked)
        return together([each for model in replies for each in model])

    def _asked(self, name: str, route: Route) -> list[ReplicaTraffic]:
        deployment = deployment_name(self._config.model_copy(update={"model_id": name}))
        replicas = Replicas(deployment, application_name(self._namespace, name, route.generation), 1.0)
        try:
            return replicas.everywhere("traffic")
        except RayError:
            return []
