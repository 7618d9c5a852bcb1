"""`salus plan`: what a recipe needs, and whether it fits here; `salus doctor`: versions, devices and memory."""

from __future__ import annotations

import typer

from pipelines.cli.console import AcceptUnreliable, DataFolder, Overrides, RecipeName, Seed, console, resolve


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: salus plan llama-3.1-8b --set train.workers_per_run=8")(plan)
    app.command(epilog="Example: salus doctor")(doctor)


def plan(
    recipe: RecipeName,
    data: DataFolder = None,
    seed: Seed = None,
    overrides: Overrides = None,
    accept_unreliable: AcceptUnreliable = False,
) -> None:
    """Print a recipe's actors, CPUs, GPUs, memory and steps; exit with 2 if it cannot fit, or `align` would refuse it.

    The judge's evidence, the feedback, the port, local models and local prompts are checked. Nothing is built or
    fetched for that.
    """
    from pipelines.alignment.ready import check_ready
    from pipelines.cluster.plan import available, check, make_plan, plan_table
    from pipelines.cluster.progress import RichReporter

    settings = resolve(recipe, overrides, seed, data, accept_unreliable)
    made = make_plan(settings)
    out = console()
    out.print(plan_table(made))
    for step in made.steps:
        out.print(f"  {step}", highlight=False, markup=False)
    check(made, available(settings))
    for later in check_ready(settings, RichReporter(out)):
        out.print(f"  {later}", highlight=False, markup=False)
    out.print("It fits.")


def doctor() -> None:
    """Hold this machine against the joint version set; exit with 2 and the cure where something fails."""
    from pipelines.cluster.doctor import doctor_table, examine

    report = examine()
    console().print(doctor_table(report))
    if report.failed:
        raise typer.Exit(2)
