"""What a real Ray exports to Prometheus of a run and of an endpoint: the names that the board asks for."""

from __future__ import annotations

import re
import time
import urllib.request
from collections.abc import Iterator

import pytest
import ray
from prometheus_client.parser import text_string_to_metric_families

from actors.contract.span import Span
from actors.serve.gateway.meter import FinishedRequest, RayMeter, TokenCount
from pipelines.cluster.session import embedded_ray
from pipelines.cluster.times import StageTime, Work
from pipelines.cluster.turns.cost import GpuShares
from pipelines.config.cluster import ClusterConfig
from pipelines.report.metrics.run import METRICS, RunMetrics
from tests.pipelines.report.metrics.test_board import ENDPOINT

pytestmark = [pytest.mark.ray, pytest.mark.slow]

Sample = tuple[dict[str, str], float]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("RAY_metrics_report_interval_ms", "500")
    with embedded_ray(ClusterConfig(), "metrics-test", 1):
        yield


def exported() -> dict[str, list[Sample]]:
    """Every sample that this node exports now, by its name."""
    (node,) = ray.nodes()
    address = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    with urllib.request.urlopen(address, timeout=10) as reply:
        families = list(text_string_to_metric_families(reply.read().decode()))
    found: dict[str, list[Sample]] = {}
    for family in families:
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def test_prometheus_finds_what_a_run_and_an_endpoint_told(cluster: None) -> None:
    metrics = RunMetrics("clinic-s7", GpuShares(workers={"generator": 2.0}, held=4.0))
    work = Work(kind="generator", worker="0", start_s=0, end_s=5)
    with metrics.stage(2, "rollout"):
        metrics.generated(Span(start_s=0, end_s=1, rows=8, tokens=90))
        # Read back from disk.
        metrics.generated(Span(start_s=1, end_s=1, rows=8))
        metrics.judged(8)
        metrics.ended(StageTime(stage="rollout", wall_s=10, busy_s=5, start_s=0, work=(work,)))
        meter = RayMeter()
        meter.started("chat")
        meter.finished(
            FinishedRequest(
                route="chat",
                method="POST",
                status=200,
                role="client",
                version="a",
                seconds=0.1,
                tokens=TokenCount(3, 4),
            )
        )
        wanted = {metric.exported(name) for name, metric in METRICS.items()} | ENDPOINT
        deadline = time.monotonic() + 60
        while not wanted <= set(found := exported()):
            assert time.monotonic() < deadline, wanted - set(found)
            time.sleep(1)

    def value(name: str, **tags: str) -> float:
        (one,) = (value for labels, value in found[name] if {"run": "clinic-s7", **tags}.items() <= labels.items())
        return one

    assert value("ray_salus_run_cycle") == 2
    assert value("ray_salus_run_stage", stage="rollout") == 1
    assert value("ray_salus_run_rows_total", kind="rollouts") == 8
    assert value("ray_salus_run_rows_total", kind="judgments") == 8
    assert value("ray_salus_run_tokens_total") == 90
    assert value("ray_salus_run_gpu_seconds_total", state="used") == 10
    assert value("ray_salus_run_gpu_seconds_total", state="held") == 40
    assert value("ray_salus_run_busy_share", stage="rollout") == 0.5
    assert not re.search("[A-Z]", "".join(name for name in found if "salus" in name))
