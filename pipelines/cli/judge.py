"""`salus judge`: a cycle's rollouts (`salus judge RECIPE`); the judge itself, trained and held against humans."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from pipelines.cli.align import Cycle, run_step
from pipelines.cli.console.commands import FactsCommand
from pipelines.cli.console.options import DataFolder, Overrides, RecipeName, RunFolderOption, Seed, local_input, resolve
from pipelines.cli.console.output import answer, console, reporter, say
from pipelines.judges.calibration_report import CalibrationReport
from pipelines.judges.training.report import JudgeTrainReport

DEFAULT = "cycle"


class CycleUnlessNamed(TyperGroup):
    """A group whose first argument may be a recipe: what is not a subcommand's name goes to `DEFAULT`."""

    # Typer's contexts are of no public type.
    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        own = {*self.commands, *ctx.help_option_names}
        if args and args[0] not in own:
            args = [DEFAULT, *args]
        return super().parse_args(ctx, args)


judge_app = typer.Typer(
    cls=CycleUnlessNamed,
    help="Judge a cycle's rollouts, as in: salus judge demo --cycle 1. Or train the judge, or hold it against humans.",
    no_args_is_help=True,
    subcommand_metavar="RECIPE [--cycle N] | COMMAND [ARGS]...",
)


def register(app: typer.Typer) -> None:
    app.add_typer(judge_app, name="judge", epilog="Example: salus judge demo --cycle 1")


@judge_app.command(DEFAULT, cls=FactsCommand, epilog="Example: salus judge demo --cycle 1")
def judge(
    recipe: RecipeName,
    cycle: Cycle = 1,
    data: DataFolder = None,
    seed: Seed = None,
    overrides: Overrides = None,
    run: RunFolderOption = None,
) -> None:
    """Label a cycle's rollouts Accept, Caution or Refuse; the word may be left out: salus judge RECIPE --cycle N."""
    from pipelines.alignment.steps import judge_step

    folder = run_step(judge_step, resolve(recipe, overrides, seed, data, fetch=True), run, cycle)
    answer({"judgments": folder})
    say(f"judgments in {folder}")


@judge_app.command(cls=FactsCommand, epilog="Example: salus judge calibrate medsafety --labels ../shared/data/xstest")
def calibrate(
    recipe: RecipeName,
    labels: Annotated[
        str,
        typer.Option(
            help="XSTest's completions (folder or file), or CSV, JSONL or Parquet with prompt, answer and label, and"
            " perhaps level (harm, 0 to 3)."
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(help="Where report and picture go; runs/calibration-NAME-sSEED without it.")
    ] = None,
    data: DataFolder = None,
    seed: Seed = None,
    overrides: Overrides = None,
) -> None:
    """Hold the recipe's judge against human labels: may it be trusted to select policies?"""
    from pipelines.judges.human_labels import read_human_labels

    settings = resolve(recipe, overrides, seed, data, fetch=True)
    # Bad labels are found before any model is built or any actor started.
    human = read_human_labels(local_input(labels, "--labels"))

    from pipelines.judges.calibrate import calibrate_judge
    from pipelines.judges.pool import judge_pool
    from pipelines.runs.materials import gather_judge

    folder = out or Path("runs") / f"calibration-{settings.name}-s{settings.seed}"
    with reporter().live() as progress:
        weights = gather_judge(settings, progress)
        with judge_pool(settings, weights, progress) as judge_shards:
            report = calibrate_judge(settings, human, folder, weights, judge_shards)
    answer({"report": report, "folder": folder})
    show(report, folder)


@judge_app.command(
    cls=FactsCommand, epilog="Example: salus judge train demo --labels labels.csv --set judge.regimen=LMA"
)
def train(
    recipe: RecipeName,
    labels: Annotated[
        str,
        typer.Option(help="CSV, JSONL or Parquet with prompt, answer and label; or XSTest's completions."),
    ],
    out: Annotated[
        Path | None, typer.Option(help="The trained judge's folder; runs/judge-NAME-sSEED without it.")
    ] = None,
    data: DataFolder = None,
    seed: Seed = None,
    overrides: Overrides = None,
) -> None:
    """Fine-tune the recipe's judge model on human labels (judge.train), and measure it on prompts kept apart."""
    from pipelines.judges.human_labels import read_human_labels

    settings = resolve(recipe, overrides, seed, data, fetch=True)
    # Bad labels are found before any model is built or any actor started.
    human = read_human_labels(local_input(labels, "--labels"))

    from pipelines.judges.training.report import read_finished_judge
    from pipelines.judges.training.train import check_trainable, prepare, split_for
    from pipelines.runs.materials import gather_judge

    check_trainable(settings)
    split = split_for(settings, human)
    folder = out or Path("runs") / f"judge-{settings.name}-s{settings.seed}"
    with reporter().live() as progress:
        base = gather_judge(settings, progress)
        # A trainable judge has weights of its own.
        assert base is not None
        job = prepare(settings, human, split, base, folder)
        report = read_finished_judge(job.folder, job.order)
        if report is not None:
            progress.say(f"{job.folder} holds this judge already; nothing was trained.")
        else:
            from pipelines.judges.training.train import train_judge_on_ray

            report = train_judge_on_ray(job, progress)
    answer({"report": report, "folder": folder})
    show_trained(report, recipe, folder)


def show_trained(report: JudgeTrainReport, recipe: str, folder: Path) -> None:
    """Print a trained judge's figures and how to use it."""
    from pipelines.judges.shown.tables import judge_training_table

    training, labels = report.training, ", ".join(f"{n} {label}" for label, n in report.train_labels.items())
    loss = training.metrics
    lines = [
        f"trained on {training.rows} rows from {sum(report.train_labels.values())} answers ({labels})"
        f" and {report.spliced} spliced ones,"
        f" {training.steps} steps, {training.train_s:.0f} s,"
        f" loss {loss['loss_first']:.3f} to {loss['loss_last']:.3f}",
        report.trust.sentence,
        f"next: salus align {shlex.quote(recipe)} {' '.join(next_settings(report, folder))}",
    ]
    out = console()
    out.print(judge_training_table(report))
    for line in lines:
        say(line)


def next_settings(report: JudgeTrainReport, folder: Path) -> list[str]:
    """The options that make a run use the trained judge, fit for a shell."""
    from actors.judges.regimens import FINE_TUNED
    from pipelines.judges.calibrate import REPORT

    judge = {
        "regimen": FINE_TUNED,
        "source": "folder",
        "path": str(folder),
        "prompt": report.order.prompt,
        "calibration": str(folder / REPORT),
    }
    return [f"--set {shlex.quote(f'judge.{name}={value}')}" for name, value in judge.items()]


def show(report: CalibrationReport, folder: Path) -> None:
    """Print a calibration and its verdict."""
    from pipelines.judges.calibrate import PICTURE, REPORT
    from pipelines.judges.shown.tables import calibration_table

    out = console()
    out.print(calibration_table(report))
    lines = [report.trust.sentence, *report.remarks, f"{folder}: {REPORT}, {PICTURE}"]
    if report.left_out:
        lines.insert(0, f"{report.left_out} answers left out: the refusal rules were tuned on their labels.")
    for line in lines:
        say(line)
