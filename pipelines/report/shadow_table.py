"""A challenger in the shadow as a person reads it: both sides, their difference, and where their labels part."""

from __future__ import annotations

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from actors.contract.records import LABELS, Interval
from pipelines.judges.calibration_table import NOTHING, interval_text
from pipelines.serving.shadow_report.figures import ShadowComparison
from pipelines.serving.shadow_report.report import ShadowReport


def shadow_tables(report: ShadowReport) -> Group:
    """Two tables a comparison, and what their figures do not say; 95 % intervals over conversations."""
    parts: list[RenderableType] = []
    for found in report.comparisons:
        parts += [Text(_head(found, report.judge.name)), _figures(found), _labels(found)]
    return Group(*parts, Text(report.caveat))


def _head(found: ShadowComparison, judge: str) -> str:
    return (
        f"{found.challenger} in the shadow of {found.policy}, by {judge}: {found.requests} requests in"
        f" {found.conversations} conversations, {found.since} to {found.until}; {found.several_turns} of several turns,"
        f" {found.same_answers} answered alike word for word"
    )


def _figures(found: ShadowComparison) -> Table:
    live, challenger = found.sides["live"], found.sides["challenger"]
    table = _table("figure", "live", "challenger", f"difference (n {found.paired})")
    for label in LABELS:
        shares = (interval_text(side.shares[label]) for side in (live, challenger))
        table.add_row(f"share {label}", *shares, _signed(found.differences[label]))
    for name, title in (
        ("coverage", "labelled"),
        ("repeating", "repeating"),
        ("empty", "empty"),
        ("cut_off", "cut off"),
        ("words_mean", "words, mean"),
    ):
        old, new = getattr(live, name), getattr(challenger, name)
        table.add_row(title, f"{old:.3f}", f"{new:.3f}", f"{new - old:+.3f}")
    return table


def _labels(found: ShadowComparison) -> Table:
    table = _table(f"live, of {found.disagreements} disagreements", *(f"challenger {label}" for label in LABELS))
    for label in LABELS:
        table.add_row(label, *(str(found.labels[label][other]) for other in LABELS))
    return table


def _signed(interval: Interval | None) -> str:
    if interval is None:
        return NOTHING
    return f"{interval.value:+.3f} ({interval.low:+.2f} to {interval.high:+.2f})"


def _table(first: str, *others: str) -> Table:
    table = Table(box=box.SIMPLE_HEAVY, pad_edge=False, collapse_padding=True)
    table.add_column(first)
    for name in others:
        table.add_column(name, justify="right", no_wrap=True)
    return table
