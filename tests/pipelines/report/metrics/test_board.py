"""The Grafana board names metrics that there are, and what a run counts of its GPUs."""

from __future__ import annotations

import json
import re
from itertools import combinations

import pytest

from actors.contract.span import Span
from pipelines.cluster.times import StageTime, Work
from pipelines.config.load import load_recipe
from pipelines.report.metrics.board import PANELS, board, board_json
from pipelines.report.metrics.run import METRICS, RunMetrics, gpu_shares

# Of the endpoint, as `RayMeter` makes them: kinds and names are held against a real Ray in test_exported.py.
ENDPOINT = {
    "ray_salus_requests_total", "ray_salus_request_seconds_bucket", "ray_salus_tokens_total",
    "ray_salus_requests_running",
}  # fmt: skip


def named(query: str) -> set[str]:
    """The metrics in a query of PromQL; tags and functions do not begin as they do."""
    return set(re.findall(r"\bray_[a-z_]+", query))


def queries() -> list[str]:
    return [target["expr"] for panel in board()["panels"] for target in panel["targets"]]


def test_every_query_names_a_metric_that_there_is() -> None:
    known = {metric.exported(name) for name, metric in METRICS.items()} | ENDPOINT
    assert queries()
    for query in queries():
        assert named(query) and named(query) <= known, query
    variables = {each["name"]: each["query"] for each in board()["templating"]["list"]}
    assert named(variables["run"]["query"]) <= known


def test_every_metric_of_a_run_is_on_the_board() -> None:
    shown = set().union(*map(named, queries()))
    assert {metric.exported(name) for name, metric in METRICS.items()} <= shown


def test_queries_select_by_tags_that_the_metric_has() -> None:
    for query in queries():
        for name, selected in re.findall(r"(ray_salus_run_[a-z_]+)\{([^}]*)\}", query):
            (metric,) = (metric for key, metric in METRICS.items() if metric.exported(key) == name)
            assert {re.split("[=~]", each)[0] for each in selected.split(",")} <= {"run", *metric.tags}
        for tags in re.findall(r"by \(([^)]*)\)", query):
            possible = {
                "run",
                "le",
                "route",
                "status",
                "kind",
                "version",
                *(t for m in METRICS.values() for t in m.tags),
            }
            assert set(re.split(r",\s*", tags)) <= possible


def test_grafana_can_import_it() -> None:
    found = json.loads(board_json())
    assert found["schemaVersion"] >= 39 and found["title"] == "Salus"
    ids = [panel["id"] for panel in found["panels"]]
    assert len(ids) == len(set(ids)) == len(PANELS)
    places = [panel["gridPos"] for panel in found["panels"]]
    for a, b in combinations(places, 2):
        beside = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        assert beside or a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
    # No address and no token: the source of data is asked for.
    assert "://" not in board_json()
    assert {target["datasource"]["uid"] for panel in found["panels"] for target in panel["targets"]} == {"${source}"}


def stage(*work: Work, wall_s: float = 10.0) -> StageTime:
    return StageTime(stage="train", wall_s=wall_s, busy_s=5.0, start_s=0.0, work=work)


def test_gpu_seconds_are_those_of_each_workers_gpus() -> None:
    recipe = load_recipe("llama-3.1-8b", ["generate.engine.tensor_parallel=2"])
    gpus = gpu_shares(recipe)
    assert gpus.workers == {"generator": 2, "judge": 1, "trainer": 2} and gpus.held == 10
    generated = Work(kind="generator", worker="0", start_s=0, end_s=3)
    trained = Work(kind="trainer", worker="kto", start_s=4, end_s=10)
    assert gpus.used(stage(generated, trained)) == pytest.approx(3 * 2 + 6 * 2)


def test_a_judge_without_weights_and_engines_on_a_cpu_have_none() -> None:
    gpus = gpu_shares(load_recipe("llama-3.1-8b", ["judge.regimen=RULES", "judge.path=null"]))
    assert gpus.workers["judge"] == 0
    assert set(gpu_shares(load_recipe("demo")).workers.values()) == {0}


def test_without_ray_nothing_is_recorded_and_nothing_fails() -> None:
    metrics = RunMetrics("demo-s7", gpu_shares(load_recipe("demo")))
    with metrics.stage(1, "rollout"):
        metrics.generated(Span(start_s=0, end_s=1, rows=4, tokens=40))
        metrics.judged(4)
    metrics.ended(stage())
    assert RunMetrics("a")._gauges == metrics._gauges == {}
