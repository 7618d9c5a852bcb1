"""What a router counts, and the metrics of several applications as one text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from actors.serve.router.lane import RouteLane

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
