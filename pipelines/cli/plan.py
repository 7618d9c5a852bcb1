"""What comes before a run: `salus plan` says whether a recipe fits here, `salus doctor` what this machine has.

`salus settings` lists what a recipe may hold.
"""

from __future__ import annotations

import json
from typing import Annotated

import typer

from actors.errors import SalusError
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


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: salus plan llama-3.1-8b --set train.workers_per_run=8")(plan)
    app.command(epilog="Example: salus doctor")(doctor)
    app.command(epilog="Examples: salus settings patience; salus settings --json-schema > recipe.schema.json")(settings)


def plan(
    recipe: RecipeName,
    data: DataFolder = None,
    seed: Seed = None,
    overrides: Overrides = None,
    run: RunFolderOption = None,
    accept_unreliable: AcceptUnreliable = False,
) -> None:
    """Print a recipe's actors, CPUs, GPUs, memory and steps; exit with 2 if it cannot fit, or `align` would refuse it.

    It checks the judge's evidence and key, the feedback, the port, the proxy, the disk, local models, and local
    prompts with their tokens. So it does with thresholds that no policy could reach. Nothing is built, and nothing is
    fetched but what the recipe names by address, as s3://BUCKET/FOLDER.
    """
    from pipelines.alignment.ready import check_ready
    from pipelines.cluster.machine.gpus import answer_lines
    from pipelines.cluster.plan import available, check, make_plan, plan_table, settled
    from pipelines.cluster.progress import RichReporter
    from pipelines.cluster.turns.hours import cost_lines
    from pipelines.runs.store.place import working_folder

    settings = settled(resolve(recipe, overrides, seed, data, accept_unreliable, fetch=True))
    made = make_plan(settings)
    out = console()
    out.print(plan_table(made))
    for step in (*made.steps, *cost_lines(settings, made.gpus)):
        out.print(f"  {step}", highlight=False, markup=False)
    there = available(settings)
    check(made, there)
    for line in answer_lines(made.rows, there.gpu_memory_gib):
        out.print(f"  {line}", highlight=False, markup=False)
    for line in check_ready(settings, RichReporter(out), working_folder(run_place(settings, run))):
        out.print(f"  {line}", highlight=False, markup=False)
    out.print("It fits.")


def doctor() -> None:
    """Hold this machine against the joint version set; exit with 2 and the cure where something fails."""
    from pipelines.cluster.machine.doctor import doctor_table, examine

    report = examine()
    console().print(doctor_table(report))
    if report.failed:
        raise typer.Exit(2)


def settings(
    word: Annotated[str, typer.Argument(metavar="[WORD]", help="In a setting's name, values or meaning.")] = "",
    json_schema: Annotated[
        bool, typer.Option("--json-schema", help="The JSON schema of a whole recipe, as editors read it.")
    ] = False,
) -> None:
    """List the settings of a recipe with their types, defaults, units and meanings; --set changes one."""
    from pipelines.config.catalog import matching, recipe_schema, setting_lines
    from pipelines.config.recipe import Recipe
    from pipelines.report.settings_table import settings_text

    if json_schema:
        if word:
            raise SalusError(f"--json-schema is of all settings; leave out {word!r}, or leave out --json-schema.")
        print(json.dumps(recipe_schema(Recipe), indent=2))
        return
    found = matching(setting_lines(Recipe), word)
    if not found:
        raise SalusError(f"No setting of a recipe speaks of {word!r}; salus settings lists all of them.")
    console().print(settings_text(found), soft_wrap=True)
