"""The study's tables on the console, and as a Markdown page."""

from __future__ import annotations

import html
import re

from rich.console import Group
from rich.text import Text

from pipelines.report.cells import narrow_table
from pipelines.study.grid import Grid, grids
from pipelines.study.results import StudyReport

_MARKUP = re.compile(r"([\\`*_{}\[\]()#+!|~])")


def console_table(grid: Grid) -> Group:
    """A table with its note below; nothing in it is read as markup."""
    table = narrow_table(title=Text(grid.title))
    table.title_justify = "left"
    for column in grid.columns:
        table.add_column(Text(column), overflow="fold")
    for row in grid.rows:
        table.add_row(*map(Text, row))
    return Group(table, Text(grid.note)) if grid.note else Group(table)


def study_page(report: StudyReport, figures: dict[int, str]) -> str:
    """`study.md`: the tables, the figures (file names by number) and what failed."""
    parts = [f"# Study {markdown(report.study)}, seed {report.seed}"]
    parts.append(f"{report.cost.wall_s:.0f} s, peak memory {report.cost.peak_memory_gib:.1f} GiB.")
    for grid in grids(report):
        parts += [f"## {markdown(grid.title)}", _rows(grid)] + ([markdown(grid.note)] if grid.note else [])
    parts += [f"![figure {number}]({name})" for number, name in figures.items()]
    parts += [
        f"- {markdown(cell.name)} failed: {markdown(failure.sentence)} (log: {markdown(failure.log)})"
        for cell, failure in report.failures
    ]
    return "\n\n".join(parts) + "\n"


def markdown(text: str) -> str:
    """Words of others as plain text in Markdown: no markup, no HTML, one line."""
    return _MARKUP.sub(r"\\\1", html.escape(" ".join(text.split()), quote=False))


def _rows(grid: Grid) -> str:
    lines = [grid.columns, ("---",) * len(grid.columns)]
    text = [[markdown(cell) if cells is not lines[1] else cell for cell in cells] for cells in (*lines, *grid.rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in text)
