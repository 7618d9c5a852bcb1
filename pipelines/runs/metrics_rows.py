"""The rows of `metrics.parquet`: a policy's figures on one split, by style and topic, and its harmfulness."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from actors.contract.records import Interval, Record
from pipelines.config.scores import ScoreTable
from pipelines.measures.groups import GroupFigures, GroupMetrics
from pipelines.measures.harmfulness import Harmfulness
from pipelines.measures.metrics import MAIN_FIGURES, Metrics, measure
from pipelines.runs.summary import JudgedBy

_FIELDS: list[pa.Field[Any]] = [
    pa.field("run", pa.string(), nullable=False),
    # 0 is the deployed model, before any cycle.
    pa.field("cycle", pa.int32(), nullable=False),
    pa.field("split", pa.string(), nullable=False),
    pa.field("policy_version", pa.string(), nullable=False),
    # base, champion, a challenger's name, or a baseline's.
    pa.field("algorithm", pa.string(), nullable=False),
    # The run's own judge, or the truth it is held against.
    pa.field("judged_by", pa.string(), nullable=False),
    # ss, ss_macro, err_strict, err_broad, asr, answered, coverage, length_tokens_mean, repetition_rate, cut_off,
    # attack_success, harmfulness, harmfulness_coverage; ss_cares, where the recipe's marks are not CARES's.
    pa.field("metric", pa.string(), nullable=False),
    # all, level:0, method:direct, principle:3, style:base64, styles:seen, styles:held_out, source:NAME/CATEGORY;
    # topics as styles.
    pa.field("group", pa.string(), nullable=False),
    pa.field("value", pa.float64(), nullable=False),
    # 95 % interval; null where none is taken.
    pa.field("low", pa.float64()),
    pa.field("high", pa.float64()),
    pa.field("n", pa.int64(), nullable=False),
    # Whether the next cycle starts from this policy.
    pa.field("winner", pa.bool_(), nullable=False),
]
METRICS_SCHEMA = pa.schema(_FIELDS)
# The paper's marks, as far as they are known: the defaults of section `scores`.
CARES_MARKS = ScoreTable()
CARES_SS = "ss_cares"


class MetricsKey(Record):
    """Whose metrics a set of rows holds."""

    run: str
    cycle: int
    split: str
    policy_version: str
    algorithm: str
    judged_by: JudgedBy
    winner: bool = False


def metrics_rows(key: MetricsKey, metrics: Metrics) -> pa.Table:
    """One policy's metrics as rows of `METRICS_SCHEMA`; what could not be measured has no row."""
    shared = key.model_dump()
    rows = [
        {**shared, "metric": metric, "group": group, **interval.model_dump()}
        for metric, group, interval in _intervals(metrics)
    ]
    plain = {
        "coverage": metrics.coverage,
        "length_tokens_mean": metrics.length_tokens_mean,
        "repetition_rate": metrics.repetition_rate,
        "cut_off": metrics.cut_off,
    }
    rows += [
        {**shared, "metric": metric, "group": "all", "value": value, "n": metrics.rows}
        for metric, value in plain.items()
        if value is not None
    ]
    return pa.Table.from_pylist(rows, schema=METRICS_SCHEMA)


def cares_rows(key: MetricsKey, judgments: pa.Table, marks: ScoreTable, seed: int) -> Iterator[pa.Table]:
    """SS by CARES's own marks (arXiv 2505.11413), all, by level, method and principle; nothing where `marks` are these.

    Args:
        key: whose they are.
        judgments: rows of `JUDGMENT_SCHEMA`.
        marks: the recipe's.
        seed: of the bootstrap.
    """
    if marks == CARES_MARKS:
        return
    shared = {**key.model_dump(), "metric": CARES_SS}
    found = _intervals(measure(judgments, CARES_MARKS, seed))
    rows = [{**shared, "group": group, **interval.model_dump()} for metric, group, interval in found if metric == "ss"]
    yield pa.Table.from_pylist(rows, schema=METRICS_SCHEMA)


def group_rows(key: MetricsKey, metrics: GroupMetrics) -> pa.Table:
    """One policy's metrics by style or topic as rows of `METRICS_SCHEMA`; what could not be measured has no row."""
    noun = metrics.grouping
    groups: dict[str, GroupFigures | None] = {f"{noun}:{name}": found for name, found in metrics.by_name.items()}
    groups |= {f"{noun}s:seen": metrics.seen, f"{noun}s:held_out": metrics.held_out}
    shared = key.model_dump()
    rows = [
        {**shared, "metric": metric, "group": group, **interval.model_dump()}
        for group, figures in groups.items()
        if figures is not None
        for metric in (*MAIN_FIGURES, "attack_success")
        if isinstance(interval := getattr(figures, metric), Interval)
    ]
    return pa.Table.from_pylist(rows, schema=METRICS_SCHEMA)


def harmfulness_rows(key: MetricsKey, found: Harmfulness) -> pa.Table:
    """One policy's harmfulness as rows of `METRICS_SCHEMA`; without any score there is only the coverage."""
    shared = {**key.model_dump(), "group": "all"}
    rows = [{**shared, "metric": "harmfulness_coverage", "value": found.coverage, "n": found.rows}]
    if found.mean is not None:
        rows.append({**shared, "metric": "harmfulness", **found.mean.model_dump()})
    for source, score in found.by_source.items():
        group = f"source:{source}"
        rows.append({**shared, "metric": "harmfulness", "group": group, "value": score.mean, "n": score.n})
    return pa.Table.from_pylist(rows, schema=METRICS_SCHEMA)


def _intervals(metrics: Metrics) -> Iterator[tuple[str, str, Interval]]:
    for metric in (*MAIN_FIGURES, "attack_success"):
        interval: Interval | None = getattr(metrics, metric)
        if interval is not None:
            yield metric, "all", interval
    groups = (
        ("ss", "level", metrics.ss_by_level),
        ("ss", "method", metrics.ss_by_method),
        ("ss", "principle", metrics.ss_by_principle),
        ("err_strict", "method", metrics.err_strict_by_method),
        ("asr", "method", metrics.asr_by_method),
    )
    for metric, noun, of in groups:
        for name, interval in of.items():
            yield metric, f"{noun}:{name}", interval
