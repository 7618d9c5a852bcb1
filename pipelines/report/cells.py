"""What every table for a person is made of: a narrow table, and a figure with its interval."""

from __future__ import annotations

from rich import box
from rich.table import Table
from rich.text import Text

from actors.contract.records import Interval

# In a cell: there is no such figure.
NOTHING = "-"


def narrow_table(*folding: str, title: str | Text | None = None) -> Table:
    """A table that fits 80 columns; the columns named here fold rather than end in dots."""
    table = Table(title=title, box=box.SIMPLE_HEAVY, pad_edge=False, collapse_padding=True)
    for column in folding:
        table.add_column(column, overflow="fold")
    return table


def interval_text(interval: Interval | None) -> str:
    """A figure and its interval, or a dash where there is none."""
    if interval is None:
        return NOTHING
    return f"{interval.value:.3f} ({interval.low:.2f}-{interval.high:.2f})"
