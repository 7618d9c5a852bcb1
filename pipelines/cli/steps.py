"""`salus generate`, `train`, `evaluate`: one step of one cycle, from the files of the step before; see `judge.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, TypeVar

import typer

from pipelines.cli.console import (
    AcceptUnreliable,
    DataFolder,
    Overrides,
    RecipeName,
    RunFolderOption,
    Seed,
    console,
    resolve,
    run_place,
)
from pipelines.cluster.progress import Reporter, RichReporter
from pipelines.config.recipe import Recipe
from pipelines.runs.store.place import Place

Cycle = Annotated[int, typer.Option(min=1, help="Which cycle, counted from 1.")]
Result = TypeVar("Result")


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: salus generate demo --cycle 1")(generate)
    app.command(epilog="Example: salus train demo --cycle 1")(train)
    app.command(epilog="Example: salus evaluate demo --cycle 1")(evaluate)


def generate(
    recipe: RecipeName,
    cycle: Cycle = 1,
    data: DataFolder = None,
    seed: Seed = None,
    overrides: Overrides = None,
    run: RunFolderOption = None,
) -> None:
    """Sample the champion's answers to a cycle's train prompts."""
    from pipelines.alignment.steps import generate_step

    folder = run_step(generate_step, resolve(recipe, overrides, seed, data), run, cycle)
    console().print(f"rollouts in {folder}", highlight=False)


def train(
    recipe: RecipeName,
    cycle: Cycle = 1,
    data: DataFolder = None,
    seed: Seed = None,
    overrides: Overrides = None,
    run: RunFolderOption = None,
) -> None:
    """Shuffle a cycle's judgments into rows and train KTO and DPO on them."""
    from pipelines.alignment.steps import train_step

    for report in run_step(train_step, resolve(recipe, overrides, seed, data), run, cycle):
        console().print(
            f"{report.challenger.version}: {report.rows} rows, {report.steps} steps, {report.train_s:.0f} s,"
            f" in {report.challenger.path}",
            highlight=False,
        )


def evaluate(
    recipe: RecipeName,
    cycle: Cycle = 1,
    data: DataFolder = None,
    seed: Seed = None,
    overrides: Overrides = None,
    run: RunFolderOption = None,
    accept_unreliable: AcceptUnreliable = False,
) -> None:
    """Measure champion and challengers on the validation split and decide; publishes nothing."""
    from pipelines.alignment.steps import evaluate_step

    outcome = run_step(evaluate_step, resolve(recipe, overrides, seed, data, accept_unreliable), run, cycle)
    console().print(f"cycle {cycle}: {outcome.chosen}; the next cycle starts from {outcome.champion.version}")


def run_step(
    step: Callable[[Recipe, Place, Reporter, int], Result], recipe: Recipe, run: str | None, cycle: int
) -> Result:
    """Run one step of a run, with its progress on the console."""
    with RichReporter(console()).live() as reporter:
        return step(recipe, run_place(recipe, run), reporter, cycle)
