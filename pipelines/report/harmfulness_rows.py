"""Harmfulness as rows of `metrics.parquet`: metrics `harmfulness` and `harmfulness_coverage`."""

from __future__ import annotations

import pyarrow as pa

from pipelines.measures.harmfulness import Harmfulness
from pipelines.runs.summary import METRICS_SCHEMA, MetricsKey


def harmfulness_rows(key: MetricsKey, found: Harmfulness) -> pa.Table:
    """One policy's harmfulness as rows of `METRICS_SCHEMA`; without any score there is only the coverage."""
    shared = {**key.model_dump(), "group": "all"}
    rows = [{**shared, "metric": "harmfulness_coverage", "value": found.coverage, "n": found.rows}]
    if found.mean is not None:
        rows.append({**shared, "metric": "harmfulness", **found.mean.model_dump()})
    return pa.Table.from_pylist(rows, schema=METRICS_SCHEMA)
