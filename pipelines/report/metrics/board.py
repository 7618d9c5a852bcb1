"""A Grafana board of the runs and endpoints of a cluster, whose Prometheus scrapes Ray's metrics."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from actors.contract.records import Record

TITLE = "Salus"
# Changes when what a saved board shows would not be what its panels say.
UID = "salus-runs-1"
# Grafana's grid is 24 wide.
_WIDTH, _HEIGHT = 12, 8
_SOURCE = {"type": "prometheus", "uid": "${source}"}
_RUN = 'run=~"$run"'


class Panel(Record):
    """One panel: its queries in PromQL, each with the legend of its lines."""

    title: str
    queries: tuple[tuple[str, str], ...]
    # Grafana's names of units and of panels.
    unit: str = "short"
    kind: str = "timeseries"
    meaning: str = ""


PANELS: tuple[Panel, ...] = (
    Panel(
        title="Stage",
        queries=((f"ray_salus_run_stage{{{_RUN}}} > 0", "{{run}}: {{stage}}"),),
        kind="state-timeline",
        meaning="Which stage of a cycle each run is at.",
    ),
    Panel(title="Cycle", queries=((f"ray_salus_run_cycle{{{_RUN}}}", "{{run}}"),), kind="stat"),
    Panel(
        title="Answers a second",
        queries=(
            (f"sum by (run, kind) (rate(ray_salus_run_rows_total{{{_RUN}}}[$__rate_interval]))", "{{run}} {{kind}}"),
        ),
        meaning="Sampled and judged; counted when a shard is done.",
    ),
    Panel(
        title="Sampled tokens a second",
        queries=((f"sum by (run) (rate(ray_salus_run_tokens_total{{{_RUN}}}[$__rate_interval]))", "{{run}}"),),
    ),
    Panel(
        title="GPUs: used of held",
        queries=(
            (
                f'sum by (run) (increase(ray_salus_run_gpu_seconds_total{{{_RUN},state="used"}}[$__range]))'
                f' / sum by (run) (increase(ray_salus_run_gpu_seconds_total{{{_RUN},state="held"}}[$__range]))',
                "{{run}}",
            ),
        ),
        unit="percentunit",
        kind="stat",
        meaning="Of the stages that ended in the shown time: GPU-seconds in which engines and trainers worked.",
    ),
    Panel(
        title="Busy share of the last stage",
        queries=((f"ray_salus_run_busy_share{{{_RUN}}}", "{{run}}: {{stage}}"),),
        unit="percentunit",
    ),
    Panel(
        title="Time by stage",
        queries=((f"sum by (run, stage) (ray_salus_run_stage_seconds_total{{{_RUN}}})", "{{run}}: {{stage}}"),),
        unit="s",
        kind="bargauge",
    ),
    Panel(
        title="Work by kind",
        queries=((f"sum by (run, kind) (ray_salus_run_work_seconds_total{{{_RUN}}})", "{{run}}: {{kind}}"),),
        unit="s",
        kind="bargauge",
    ),
    Panel(
        title="Requests a second",
        queries=(
            ("sum by (route, status) (rate(ray_salus_requests_total[$__rate_interval]))", "{{route}} {{status}}"),
        ),
        unit="reqps",
    ),
    Panel(
        title="Seconds of an answer",
        queries=tuple(
            (
                f"histogram_quantile({share}, sum by (le) (rate(ray_salus_request_seconds_bucket[$__rate_interval])))",
                f"{share:.0%} of answers",
            )
            for share in (0.5, 0.95, 0.99)
        ),
        unit="s",
    ),
    Panel(
        title="Tokens a second at the endpoint",
        queries=(("sum by (kind, version) (rate(ray_salus_tokens_total[$__rate_interval]))", "{{kind}} {{version}}"),),
    ),
    Panel(title="Requests under way", queries=(("sum by (route) (ray_salus_requests_running)", "{{route}}"),)),
)


def board(panels: Sequence[Panel] = PANELS) -> dict[str, Any]:
    """The board as Grafana imports it; it asks for the source of data, and lists the runs that Prometheus knows."""
    return {
        "uid": UID,
        "title": TITLE,
        "tags": ["salus", "ray"],
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": [_source(), _runs()]},
        "panels": [_panel(number, panel) for number, panel in enumerate(panels)],
    }


def board_json() -> str:
    """The same, as text."""
    return json.dumps(board(), indent=2) + "\n"


def _panel(number: int, panel: Panel) -> dict[str, Any]:
    column, row = number % 2, number // 2
    return {
        "id": number + 1,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.meaning,
        "datasource": dict(_SOURCE),
        "gridPos": {"x": column * _WIDTH, "y": row * _HEIGHT, "w": _WIDTH, "h": _HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.unit}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + place), "expr": query, "legendFormat": legend, "datasource": dict(_SOURCE)}
            for place, (query, legend) in enumerate(panel.queries)
        ],
    }


def _source() -> dict[str, Any]:
    return {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}


def _runs() -> dict[str, Any]:
    return {
        "name": "run",
        "label": "Run",
        "type": "query",
        "datasource": dict(_SOURCE),
        "query": {"query": "label_values(ray_salus_run_cycle, run)", "refId": "run"},
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        "current": {"text": "All", "value": "$__all"},
    }
