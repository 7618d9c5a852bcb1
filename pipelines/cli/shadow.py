"""`salus shadow`: what a challenger answered unseen beside the live policy (`salus serve`, section shadow)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.console import DataFolder, Overrides, RecipeName, Seed, console, resolve


def register(app: typer.Typer) -> None:
    shadow = typer.Typer(help="What a challenger answered unseen beside the live policy.", no_args_is_help=True)
    shadow.command(epilog="Example: salus shadow report demo --folder registry/shadow --set judge.regimen=RULES")(
        report
    )
    # With one command alone, Typer would leave its name out.
    shadow.callback()(lambda: None)
    app.add_typer(shadow, name="shadow")


def report(
    recipe: RecipeName,
    folder: Annotated[Path, typer.Option("--folder", help="The endpoint's shadow.folder, or a copy of it.")],
    out: Annotated[
        Path | None, typer.Option(help="Where judgments and report go; judged-REGIMEN/ of the folder without it.")
    ] = None,
    data: DataFolder = None,
    seed: Seed = None,
    overrides: Overrides = None,
) -> None:
    """Have the recipe's judge label the live and the challenger's answer of every record, and compare them."""
    from pipelines.serving.shadow.judgments import read_records

    settings = resolve(recipe, overrides, seed, data)
    # Found before any model is built or any actor started.
    read_records(folder)

    from pipelines.cluster.progress import RichReporter
    from pipelines.judges.pool import judge_pool
    from pipelines.runs.materials import gather_judge
    from pipelines.serving.shadow.report import JUDGMENTS, REPORT, report_shadow, shadow_tables

    place = out or folder / f"judged-{settings.judge.regimen.lower()}"
    with RichReporter(console()).live() as reporter:
        weights = gather_judge(settings, reporter)
        with judge_pool(settings, weights, reporter) as judge_shards:
            found = report_shadow(settings, folder, place, weights, judge_shards)
    shown = console()
    shown.print(shadow_tables(found))
    # Names in it are not ours: no markup.
    shown.print(f"{place}: {REPORT}, {JUDGMENTS}", markup=False, highlight=False, soft_wrap=True)
