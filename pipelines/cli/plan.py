"""`salus plan`: what a recipe needs and does, and whether it fits here."""

from __future__ import annotations

import typer

from pipelines.cli.console import DataFolder, Overrides, RecipeName, Seed, console, resolve


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: salus plan llama-3.1-8b --set train.workers_per_run=8")(plan)


def plan(recipe: RecipeName, data: DataFolder = None, seed: Seed = None, overrides: Overrides = None) -> None:
    """Print a recipe's actors, CPUs, GPUs, memory and steps; exit with 2 if it cannot fit."""
    from pipelines.cluster.plan import available, check, make_plan, plan_table

    settings = resolve(recipe, overrides, seed, data)
    made = make_plan(settings)
    out = console()
    out.print(plan_table(made))
    for step in made.steps:
        out.print(f"  {step}", highlight=False, markup=False)
    check(made, available(settings))
    out.print("It fits.")
