"""`salus status`: how far a run is, read from its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from actors.contract.run_folder import RunFolder
from pipelines.cli.console import console
from pipelines.config.recipe import Recipe


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: salus status runs/demo-s7")(status)


def status(run: Annotated[str, typer.Argument(metavar="RUN", help="A run folder, or the address of a run.")]) -> None:
    """Say how far each cycle of a run is, and what it decided."""
    from pipelines.cli.align import show
    from pipelines.runs.finished.shape import recipe_of_run
    from pipelines.runs.store.reading import readable
    from pipelines.runs.summary import find_summary

    with readable(run) as (root, _):
        folder = RunFolder(root)
        recipe = recipe_of_run(folder)
        console().print(progress_table(folder, recipe))
        if summary := find_summary(folder.summary):
            show(summary)


def progress_table(folder: RunFolder, recipe: Recipe) -> Table:
    """How far each cycle of a run is."""
    from pipelines.decision.ending import is_over, past_decisions

    table = Table(title=f"{recipe.name}, seed {recipe.seed}")
    for column in ("cycle", "rollouts", "judgments", "trained", "decision"):
        table.add_column(column)
    decisions = past_decisions(folder, recipe.cycles)
    chosen = {decision.cycle: decision.chosen for decision in decisions}
    last = len(decisions) if is_over(decisions, recipe.cycles) else recipe.cycles
    for cycle in range(1, last + 1):
        trained = [a for a in recipe.train.algorithms if (folder.training(cycle, a) / "report.json").is_file()]
        table.add_row(
            str(cycle),
            _shards(folder.rollouts(cycle)),
            _shards(folder.judgments(cycle)),
            ", ".join(trained) or "-",
            chosen.get(cycle, "-"),
        )
    if last < recipe.cycles:
        table.caption = Text(decisions[-1].ended or "")
    return table


def _shards(folder: Path) -> str:
    count = len(list(folder.glob("*.parquet")))
    return f"{count} shards" if count else "-"
