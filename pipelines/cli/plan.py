"""What comes before a run: `salus plan` says whether a recipe fits here, `salus doctor` what this machine has.

`salus settings` lists what a recipe may hold.
"""

from __future__ import annotations

from typing import Annotated

import typer

from actors.errors import SalusError
from pipelines.cli.console.commands import FactsCommand
from pipelines.cli.console.exit_codes import ExitCode
from pipelines.cli.console.options import (
    AcceptUnreliable,
    DataFolder,
    Overrides,
    RecipeName,
    RunFolderOption,
    Seed,
    resolve,
    run_place,
)
from pipelines.cli.console.output import answer, console, reporter, told


def register(app: typer.Typer) -> None:
    app.command(cls=FactsCommand, epilog="Example: salus plan llama-3.1-8b --set train.workers_per_run=8")(plan)
    app.command(cls=FactsCommand, epilog="Example: salus doctor")(doctor)
    app.command(
        cls=FactsCommand, epilog="Examples: salus settings patience; salus settings --json-schema > recipe.schema.json"
    )(settings)


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
    from pipelines.cluster.turns.hours import cost_lines
    from pipelines.runs.store.place import working_folder

    settings = settled(resolve(recipe, overrides, seed, data, accept_unreliable, fetch=True))
    made = make_plan(settings)
    out = console()
    out.print(plan_table(made))
    costs = cost_lines(settings, made.gpus)
    for step in (*made.steps, *costs):
        out.print(f"  {step}", highlight=False, markup=False)
    there = available(settings)
    check(made, there)
    lines = answer_lines(made.rows, there.gpu_memory_gib)
    lines += check_ready(settings, reporter(), working_folder(run_place(settings, run)))
    for line in lines:
        out.print(f"  {line}", highlight=False, markup=False)
    answer({"plan": made, "costs": costs, "remarks": lines, "fits": True})
    out.print("It fits.")


def doctor() -> None:
    """Hold this machine against the joint version set; exit with 2 and the cure where something fails."""
    from pipelines.cluster.machine.doctor import doctor_table, examine

    report = examine()
    answer(report)
    console().print(doctor_table(report))
    if report.failed:
        raise typer.Exit(ExitCode.BAD_INPUT)


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
        # The schema is JSON by itself: --json beside it changes nothing.
        told().json = True
        answer(recipe_schema(Recipe))
        return
    found = matching(setting_lines(Recipe), word)
    if not found:
        raise SalusError(f"No setting of a recipe speaks of {word!r}; salus settings lists all of them.")
    answer(found)
    console().print(settings_text(found), soft_wrap=True)
