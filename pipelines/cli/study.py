"""`salus study`: models x regimens, each a whole run, several at a time; tables and figures of all."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from actors.errors import SalusError
from pipelines.cli.console import Overrides, RunFolderOption, Seed, console
from pipelines.cluster.progress import RichReporter
from pipelines.runs.store.place import local_folder

if TYPE_CHECKING:
    from pipelines.study.results import StudyReport

StudyName = Annotated[str, typer.Argument(metavar="STUDY", help="A study's name, or the path of a YAML file.")]


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: salus study study --seed 3 --set side_by_side=1")(study)


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
    out = console()
    root = study_root(settings, local_folder(run, "A study needs") if run is not None else None)
    with RichReporter(out).live() as reporter:
        report = run_study(settings, root, reporter, fresh=fresh)
    show_study(report, root)


def show_study(report: StudyReport, root: Path) -> None:
    """Print a study's tables.

    Raises:
        SalusError: cells failed; says which, their last sentences and where their logs are.
    """
    from pipelines.study.tables import console_table, grids

    out = console()
    for grid in grids(report):
        out.print(console_table(grid))
    cost = report.cost
    out.print(f"{cost.wall_s:.0f} s, peak memory {cost.peak_memory_gib:.1f} GiB", highlight=False)
    out.print(f"study folder {root}: study.md, study.json, figure*.png, cells/", highlight=False, markup=False)
    if report.failures:
        each = "; ".join(
            f"{cell.name}: {failure.sentence.removesuffix('.')} (log: {failure.log})"
            for cell, failure in report.failures
        )
        raise SalusError(
            f"{len(report.failures)} of {len(report.cells)} cells failed: {each}; the same command goes on with them."
        )
