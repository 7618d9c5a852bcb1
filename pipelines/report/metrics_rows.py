"""What belongs to one policy beside its main figures, as rows of `metrics.parquet`: by style, and harmfulness."""

from __future__ import annotations

import pyarrow as pa

from actors.contract.records import Interval
from pipelines.measures.harmfulness import Harmfulness
from pipelines.measures.metrics import MAIN_FIGURES
from pipelines.measures.styles import StyleFigures, StyleMetrics
from pipelines.runs.summary import METRICS_SCHEMA, MetricsKey


def style_rows(key: MetricsKey, metrics: StyleMetrics) -> pa.Table:
    """One policy's metrics by style as rows of `METRICS_SCHEMA`; what could not be measured has no row."""
    groups: dict[str, StyleFigures | None] = {f"style:{name}": found for name, found in metrics.by_style.items()}
    groups |= {"styles:seen": metrics.seen, "styles:held_out": metrics.held_out}
    shared = key.model_dump()
    rows = [
        {**shared, "metric": metric, "group": group, **interval.model_dump()}
        for group, figures in groups.items()
        if figures is not None
        for metric in MAIN_FIGURES
        if isinstance(interval := getattr(figures, metric), Interval)
    ]
    return pa.Table.from_pylist(rows, schema=METRICS_SCHEMA)


def harmfulness_rows(key: MetricsKey, found: Harmfulness) -> pa.Table:
    """One policy's harmfulness as rows of `METRICS_SCHEMA`; without any score there is only the coverage."""
    shared = {**key.model_dump(), "group": "all"}
    rows = [{**shared, "metric": "harmfulness_coverage", "value": found.coverage, "n": found.rows}]
    if found.mean is not None:
        rows.append({**shared, "metric": "harmfulness", **found.mean.model_dump()})
    return pa.Table.from_pylist(rows, schema=METRICS_SCHEMA)
