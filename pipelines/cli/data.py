"""`salus data`: look at a data set before a run uses it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from actors.contract.untrusted import visible
from pipelines.cli.console.commands import FactsCommand
from pipelines.cli.console.options import Overrides, local_input, resolve
from pipelines.cli.console.output import answer, console, reporter
from pipelines.config.load import SUFFIXES, recipe_names, recipe_of
from pipelines.config.recipe import Recipe
from pipelines.data.sets.table import PROMPT_SOURCES

if TYPE_CHECKING:
    from pipelines.data.inspection import Inspection

Source = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE|RECIPE",
        help=f"One of {', '.join(PROMPT_SOURCES)} (data.source); or a recipe's name, or the path of a YAML file.",
    ),
]
DataPath = Annotated[
    str | None,
    typer.Option(
        "--path",
        metavar="PATH|ADDRESS",
        help="A data file or folder; without it, the hub's copy of a set that it has.",
    ),
]

app = typer.Typer(no_args_is_help=True, help="Look at data sets.")


def register(root: typer.Typer) -> None:
    app.command(
        cls=FactsCommand,
        epilog="Example: salus data inspect cares --path data/CARES-18K; or salus data inspect clinic.yaml",
    )(inspect)
    root.add_typer(app, name="data")


def inspect(
    source: Source,
    path: DataPath = None,
    seed: Annotated[
        int | None, typer.Option(help="The seed of the split and of the styles (7, or the recipe's).")
    ] = None,
    overrides: Overrides = None,
) -> None:
    """Count a data set's prompts by split, level, method, principle and style; exit with 2 where no run can begin so.

    That is where splits share a base prompt, or where one is empty. With a recipe it finds all that `salus align` would
    refuse in its data: prompts too long for its model, and thresholds that its splits cannot reach, too.
    """
    from pipelines.data.inspection import inspect_splits
    from pipelines.runs.prompts.sets import check_splits, prompt_splits

    whole = source not in PROMPT_SOURCES and (Path(source).suffix in SUFFIXES or source in recipe_names())
    if whole:
        recipe = resolve(source, overrides, seed, path, fetch=True)
    else:
        local = None if path is None else local_input(path, "--path")
        recipe = _data_alone(source, local, seed, overrides)
    splits = prompt_splits(recipe)
    found = inspect_splits({split: table.to_batches() for split, table in splits.items()})
    out = console()
    answer(found)
    for table in tables(source, found):
        out.print(table)
    out.print(f"{found.rows} prompts, {found.duplicates} of them repeat an earlier one.", highlight=False)
    if found.leaked:
        out.print(f"{found.leaked} base prompts are in more than one split.", style="red", highlight=False)
    if not whole:
        check_splits(splits, source)
        return
    # Imported here: it takes seconds, and a data set alone does without.
    from pipelines.alignment.ready import check_prompts

    for line in check_prompts(recipe, reporter(), splits):
        out.print(line, highlight=False, markup=False)


def _data_alone(source: str, path: Path | None, seed: int | None, overrides: list[str] | None) -> Recipe:
    """A recipe of which only the data section matters; the rest is what every recipe must say."""
    tree: dict[str, Any] = {
        "name": "inspect",
        "seed": 7 if seed is None else seed,
        "model": {"source": "clinic"},
        "judge": {"regimen": "RULES"},
        "data": {"source": source, "path": None if path is None else str(path)},
    }
    return recipe_of(tree, overrides or [], "data inspect")


def tables(title: str, found: Inspection) -> list[Table]:
    """Counts, lengths, examples and, where there are some, leaks; untrusted text is never read as markup."""
    made = [_counts(title, found), _lengths(found), _examples(found)]
    return made if not found.leaks else [*made, _leaks(found)]


def shown(text: str) -> Text:
    """Untrusted text for a cell: no markup, and as wide as it is printed."""
    return Text(visible(text))


def _table(title: str, *columns: str, numbers: tuple[str, ...] = ()) -> Table:
    table = Table(title=shown(title))
    for column in columns:
        table.add_column(shown(column), justify="right" if column in numbers else "left")
    return table


def _counts(title: str, found: Inspection) -> Table:
    table = _table(f"Prompts of {title}", "by", "value", *found.splits, numbers=found.splits)
    by_value: dict[tuple[str, str], dict[str, int]] = {}
    for count in found.counts:
        by_value.setdefault((count.field, count.value), {})[count.split] = count.rows
    before = None
    for (field, value), rows in by_value.items():
        if before not in (None, field):
            table.add_section()
        table.add_row(field if field != before else "", shown(value), *(str(rows.get(s, 0)) for s in found.splits))
        before = field
    return table


def _lengths(found: Inspection) -> Table:
    numbers = ("prompts", "shortest", "median", "95 %", "longest")
    table = _table("Prompt lengths in characters", "split", *numbers, numbers=numbers)
    for row in found.lengths:
        values = (row.rows, row.shortest, row.median, row.p95, row.longest)
        table.add_row(shown(row.split), *map(str, values))
    return table


def _examples(found: Inspection) -> Table:
    table = _table("One prompt of each level", "level", "split", "prompt")
    for example in found.examples:
        table.add_row(str(example.level), shown(example.split), shown(example.prompt))
    return table


def _leaks(found: Inspection) -> Table:
    table = _table("Base prompts in two splits (the first few)", "splits", "base prompt")
    for leak in found.leaks:
        table.add_row(shown(" and ".join(leak.splits)), shown(leak.base_prompt))
    return table
