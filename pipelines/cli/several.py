"""Several whole runs in one Ray: `salus study`, models x regimens; `salus fleet`, policies of different recipes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from actors.errors import SalusError
from pipelines.cli.console.commands import FactsCommand
from pipelines.cli.console.options import Overrides, RunFolderOption, Seed
from pipelines.cli.console.output import answer, console, reporter
from pipelines.runs.store.place import local_folder

if TYPE_CHECKING:
    from pipelines.study.fleet.run import FleetReport
    from pipelines.study.results import StudyReport

StudyName = Annotated[str, typer.Argument(metavar="STUDY", help="A study's name, or the path of a YAML file.")]


FleetFile = Annotated[str, typer.Argument(metavar="FLEET.yaml", help="The path of a fleet's YAML file.")]


def register(app: typer.Typer) -> None:
    app.command(cls=FactsCommand, epilog="Example: salus study study --seed 3 --set side_by_side=1")(study)
    app.command(cls=FactsCommand, epilog="Examples: salus fleet wards.yaml --plan; salus fleet wards.yaml")(fleet)


def study(
    recipe: StudyName,
    seed: Seed = None,
    overrides: Overrides = None,
    run: RunFolderOption = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start every cell anew, forgetting what the study's folder holds.")
    ] = False,
) -> None:
    """Align every model of a study under every judge regimen, and compare them.

    The same command goes on where an interrupted study stopped, and tries failed cells again.
    """
    from pipelines.study.config import load_study
    from pipelines.study.run import run_study, study_root

    changes = [*(overrides or []), *([f"seed={seed}"] if seed is not None else [])]
    settings = load_study(recipe, changes)
    root = study_root(settings, local_folder(run, "A study needs") if run is not None else None)
    with reporter().live() as progress:
        report = run_study(settings, root, progress, fresh=fresh)
    answer({"folder": root, "report": report})
    show_study(report, root)


def show_study(report: StudyReport, root: Path) -> None:
    """Print a study's tables.

    Raises:
        SalusError: cells failed; says which, their last sentences and where their logs are.
    """
    from pipelines.study.fleet.member import failed_sentence
    from pipelines.study.tables import console_table, grids

    out = console()
    for grid in grids(report):
        out.print(console_table(grid))
    out.print(str(report.cost), highlight=False)
    out.print(f"study folder {root}: study.md, study.json, figure*.png, cells/", highlight=False, markup=False)
    if report.failures:
        failures = {cell.name: failure for cell, failure in report.failures}
        raise SalusError(failed_sentence(failures, len(report.cells), "cells"))


def fleet(
    file: FleetFile,
    plan: Annotated[
        bool, typer.Option("--plan", help="Print what runs when and whether it fits; nothing is built or started.")
    ] = False,
    overrides: Overrides = None,
    run: RunFolderOption = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start every policy anew, forgetting what the fleet's folder holds.")
    ] = False,
) -> None:
    """Align several policies in one cluster at the same time, each with its recipe, data, seed and registry.

    A policy that fails stops no other. The same command goes on with what is left.
    """
    from pipelines.alignment.ready import check_ready
    from pipelines.runs.several import FleetFolder
    from pipelines.study.fleet.config import load_fleet
    from pipelines.study.fleet.member import named
    from pipelines.study.fleet.run import fleet_root, members_of, run_fleet
    from pipelines.study.fleet.tables import division_table
    from pipelines.study.fleet.together import divided

    settings = load_fleet(file, overrides or ())
    out = console()
    root = fleet_root(settings, local_folder(run, "A fleet needs") if run is not None else None)
    if plan:
        members = members_of(settings, FleetFolder(root))
        out.print(division_table(divided(members, settings.side_by_side, settings.share), f"Plan of {settings.name}"))
        for member in members:
            with named(member):
                # Its lines are long; salus plan prints them of one recipe.
                check_ready(member.recipe, reporter(), member.run.root)
        answer({"fleet": settings.name, "policies": [member.name for member in members], "fits": True})
        out.print("It fits.")
        return
    with reporter().live() as progress:
        report = run_fleet(settings, root, progress, fresh=fresh)
    answer(
        {
            "folder": root,
            "policies": [{"name": member.name, "run": member.run.root} for member in report.members],
            "published": report.published,
            "failures": report.failures,
            "cost": report.cost,
        }
    )
    show_fleet(report, root)


def show_fleet(report: FleetReport, root: Path) -> None:
    """Print what became of a fleet, and how it is served.

    Raises:
        SalusError: policies failed; says which, their last sentences and where their logs are.
    """
    from pipelines.runs.several import FleetFolder
    from pipelines.study.fleet.member import failed_sentence
    from pipelines.study.fleet.tables import next_lines, report_table

    out = console()
    out.print(report_table(report))
    out.print(str(report.cost), highlight=False)
    for line in next_lines(report, FleetFolder(root)):
        out.print(line, highlight=False, markup=False, soft_wrap=True)
    if report.failures:
        raise SalusError(failed_sentence(report.failures, len(report.members), "policies"))
