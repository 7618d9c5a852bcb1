"""Feedback as a person reads it: how many of what, by policy, caller and day."""

from __future__ import annotations

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from actors.serve.feedback.records import VERDICTS
from pipelines.feedback.counts import FeedbackCounts


def feedback_tables(counts: FeedbackCounts) -> Group:
    """A table for each way of counting, and a line on what contradicts or cannot be used."""
    parts: list[RenderableType] = []
    for name, values in counts.by.items():
        table = Table(box=box.SIMPLE_HEAVY, pad_edge=False, collapse_padding=True)
        table.add_column(name, overflow="fold")
        for verdict in (*VERDICTS, "all"):
            table.add_column(verdict, justify="right")
        for value, verdicts in values.items():
            numbers = (*(verdicts[verdict] for verdict in VERDICTS), verdicts.total())
            table.add_row(Text(value), *map(str, numbers))
        parts.append(table)
    parts.append(Text(_line(counts)))
    return Group(*parts)


def _line(counts: FeedbackCounts) -> str:
    verdicts = ", ".join(f"{verdict} {counts.verdicts[verdict]}" for verdict in VERDICTS)
    return (
        f"{counts.items} in all ({verdicts}); answers called good and bad: {counts.conflicts} ({counts.ties} of them"
        f" evenly); about answers that are not kept: {counts.unknown_answers}"
    )
