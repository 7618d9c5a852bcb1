"""What every table for a person is made of: a narrow table, and a figure with its interval."""

from __future__ import annotations

from rich import box
from rich.table import Table
from rich.text import Text

from actors.contract.records import Interval

# In a cell: there is no such figure.
NOTHING = "-"
# In the place of an interval: the figure is known by construction, or one row alone says it.
NO_SPREAD = "no spread"


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
    return f"{interval.value:.3f} ({ends_text(interval.low, interval.high)})"


def ends_text(low: float, high: float) -> str:
    """An interval in a cell; one without width is of a figure that no sample could change."""
    return NO_SPREAD if low == high else f"{low:.2f}-{high:.2f}"
