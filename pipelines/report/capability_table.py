"""What policies can still do, one row each."""

from __future__ import annotations

from collections.abc import Mapping

from rich import box
from rich.table import Table

from actors.contract.records import Interval
from pipelines.measures.capability.figures import Capability

NOTHING = "-"
COLUMNS = ("multiple choice\naccuracy", "perplexity of\nreferences", "harmless\naccepted")


def capability_table(policies: Mapping[str, Capability], title: str) -> Table:
    """Each policy's figures by name, with interval and n; a figure that was not measured is a dash."""
    table = Table(title=title, box=box.SIMPLE_HEAVY, pad_edge=False, collapse_padding=True)
    table.add_column("policy", no_wrap=True)
    for column in COLUMNS:
        table.add_column(column, justify="right", no_wrap=True)
    for name, found in policies.items():
        table.add_row(name, *map(_shown, (found.accuracy, found.perplexity_per_token, found.helpful)))
    chance = next((found.choices.chance for found in policies.values() if found.choices is not None), None)
    if chance is not None:
        table.caption = f"Guessing scores {chance:.3g}."
    return table


def _shown(figure: Interval | None) -> str:
    if figure is None:
        return NOTHING
    return f"{figure.value:.3f}\n{figure.low:.2f}-{figure.high:.2f}\nn {figure.n}"
