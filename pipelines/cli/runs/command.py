"""`salus runs`: what is known of runs that were made, and what they may be freed of; `salus status`: how far one is."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.filesize import decimal

from actors.contract.run_folder import RunFolder
from actors.errors import SalusError
from pipelines.cli.console.commands import FactsCommand
from pipelines.cli.console.exit_codes import ExitCode
from pipelines.cli.console.options import AnswerPolicies, AnswerSets, RunArgument
from pipelines.cli.console.output import answer, console, notice, say, told
from pipelines.cli.runs.push import push
from pipelines.runs.checksums import Checked, check_sums
from pipelines.runs.finished.export.export import Target
from pipelines.runs.finished.gc import Waste

if TYPE_CHECKING:
    from pipelines.runs.finished.gc import GcPlan

SHOWN = 5
TimelineRun = Annotated[
    str, typer.Argument(metavar="RUN", help="A run folder, or the address of a run; it may still be under way.")
]
TimelineOut = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Where the files go, outside the run (RUN-timeline beside it; runs/RUN-timeline for one at an address).",
    ),
]


def register(app: typer.Typer) -> None:
    runs = typer.Typer(help="Look after runs.", no_args_is_help=True)
    runs.command("list", cls=FactsCommand, epilog="Example: salus runs list runs")(list_runs)
    runs.command(cls=FactsCommand, epilog="Example: salus runs show runs/demo-s7")(show)
    runs.command(cls=FactsCommand, epilog="Example: salus runs diff runs/demo-s7 runs/demo-s8")(diff)
    runs.command(cls=FactsCommand, epilog="Example: salus runs verify runs/demo-s7")(verify)
    runs.command(cls=FactsCommand, epilog="Example: salus runs audit runs/demo-s7")(audit)
    runs.command(cls=FactsCommand, epilog="Example: salus runs timeline runs/demo-s7")(timeline)
    runs.command(cls=FactsCommand, epilog="Example: salus runs explain runs/demo-s7 clinic-validation-00000-h")(explain)
    runs.command(cls=FactsCommand, epilog="Example: salus runs export runs/demo-s7 --to inspect --out logs")(export)
    runs.command(cls=FactsCommand, epilog="Example: salus runs push runs/demo-s7 clinic/answers --dry-run")(push)
    runs.command(cls=FactsCommand, epilog="Example: salus runs gc runs --keep ray_train")(gc)
    app.add_typer(runs, name="runs")
    app.command(cls=FactsCommand, epilog="Example: salus status runs/demo-s7")(status)


def list_runs(
    folder: Annotated[
        str, typer.Argument(metavar="[DIR]", help="A folder of runs and studies, or an address with runs below it.")
    ] = "runs",
) -> None:
    """List the runs of a folder, those of its studies included: how far each is, its result, and its size."""
    from pipelines.report.runs_tables import runs_table
    from pipelines.runs.finished.catalog import UnreadableRun, read_line
    from pipelines.runs.finished.find import find_runs, name_in
    from pipelines.runs.store.reading import readable_runs

    with readable_runs(folder) as runs:
        found = [read_line(path, name_in(path, runs.root)) for path in find_runs(runs.root)]
        found += [UnreadableRun(name=name, fault=fault) for name, fault in runs.faults.items()]
    answer(found)
    console().print(runs_table(found) if found else f"No runs in {folder}.", markup=False, highlight=False)


def show(run: RunArgument) -> None:
    """Show one run: its recipe, versions, cost, decisions, publications, judge, figures and artefacts."""
    from pipelines.cli.runs.page import facts_of, print_run
    from pipelines.runs.store.reading import readable

    with readable(run) as (root, view):
        answer(facts_of(RunFolder(root)))
        print_run(RunFolder(root), view.objects.place if view is not None else None)


def diff(
    a: Annotated[str, typer.Argument(metavar="A", help="A run folder, or the address of a run.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Another.")],
    exit_code: Annotated[bool, typer.Option("--exit-code", help="Exit with 1 where the runs differ.")] = False,
) -> None:
    """Compare two runs: settings, versions, artefacts in the order they are made, and test figures.

    Exits with 0 whether they differ or not, unless --exit-code is given. Files that hold times, folders or costs differ
    between any two runs; where nothing else differs, the runs count as the same.
    """
    from pipelines.report.runs_tables import difference_tables
    from pipelines.runs.finished.busy import is_finished
    from pipelines.runs.finished.diff import diff_runs
    from pipelines.runs.store.reading import readable

    with readable(a) as (root_a, view_a), readable(b) as (root_b, view_b):
        for root, view in ((root_a, view_a), (root_b, view_b)):
            # One that has no sums of its own is compared by its files.
            if view is not None and not is_finished(RunFolder(root)):
                view.fetch_all()
        found = diff_runs(RunFolder(root_a), RunFolder(root_b))
    answer({"differs": found.differs, "differences": found})
    console().print(difference_tables(found), highlight=False)
    if exit_code and found.differs:
        raise typer.Exit(ExitCode.FOUND)


def verify(run: Annotated[str, typer.Argument(metavar="RUN", help="A finished run's folder, or its address.")]) -> None:
    """Hold every file of a run against the SHA-256 sums and the manifest written when it ended, and print its hash."""
    from pipelines.runs.finished.gc import may_miss
    from pipelines.runs.finished.manifest import check_manifest
    from pipelines.runs.store.reading import readable
    from pipelines.runs.store.view import check_stored

    with readable(run) as (root, view):
        folder = RunFolder(root)
        apart = may_miss(folder)
        checked = check_sums(folder, apart) if view is None else check_stored(view, apart)
        if not checked.intact:
            raise SalusError(
                f"{run} is not what its run left ({_said(checked)}); take the files from a copy, or run the same"
                " command with --fresh."
            )
        check_manifest(folder)
    answer({"run": run, "checked": checked})
    removed = f" ({len(checked.removed)} of them removed since by salus runs gc)" if checked.removed else ""
    say(f"{run}: {checked.files} files as the run left them{removed}, run hash {checked.run_hash}")


def audit(run: RunArgument) -> None:
    """Make every decision of a run again from the judgments it kept, and hold records and pages against that.

    A page may differ in words alone where an earlier version wrote it; salus runs verify says whether it was changed.
    Exits with 1 where a record differs; runs of earlier versions of the rule may differ in figures and agree in choice.
    """
    from pipelines.report.decision_page.from_run import is_current
    from pipelines.report.runs_tables import audit_table
    from pipelines.runs.finished.audit import audit as made_again
    from pipelines.runs.finished.shape import recipe_of_run
    from pipelines.runs.store.reading import readable

    with readable(run) as (root, view):
        folder = RunFolder(root)
        if view is not None:
            view.fetch_below(folder.evaluations("validation"))
            view.fetch_below(folder.evaluations("probe"))
            for control in sorted(folder.root.glob("cycles/*/control.parquet")):
                view.fetch_file(control)
            for page in sorted(folder.root.glob("cycles/*/decision.md")):
                view.fetch_file(page)
        found, recipe = made_again(folder), recipe_of_run(folder)
        pages = {each.recorded.cycle: is_current(folder, recipe, each.recorded) for each in found}
    answer(
        [
            {"decision": each, "same_choice": each.same_choice, "differences": each.differences, "page": page}
            for each, page in zip(found, pages.values(), strict=True)
        ]
    )
    console().print(audit_table(found), highlight=False)
    for cycle, current in pages.items():
        if current is False:
            say(f"The page of cycle {cycle} is not what its record and answers give now.")
    if any(each.differences for each in found):
        raise typer.Exit(ExitCode.FOUND)


def gc(
    folder: Annotated[
        str, typer.Argument(metavar="RUN|DIR", help="A finished run, or a folder of runs; or the address of either.")
    ],
    keep: Annotated[list[Waste] | None, typer.Option(help="A kind that is not removed; may be repeated.")] = None,
    full_weights: Annotated[
        bool, typer.Option("--full-weights", help="Also weights of full fine-tunes that lost: the only copy there is.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Remove what finished runs need no more, after showing it; salus runs verify still holds for the rest.

    That is: merged weights of challengers that never became champion and whose adapter stays. Ray Train's own state
    and files that were being written when a process ended go as well. Runs that are not finished, or that a process
    holds, are left alone.
    """
    from pipelines.runs.finished.gc import collect, gc_plans
    from pipelines.runs.finished.shape import recipe_of_run
    from pipelines.runs.store.reading import readable_runs
    from pipelines.runs.store.view import changing

    kept: set[Waste] = {*(keep or []), *(() if full_weights else (Waste.FULL_WEIGHTS,))}
    with readable_runs(folder) as runs:
        plans, left = gc_plans(runs.root, kept)
        agreed = _agreed(plans, [*left, *runs.faults.values()], yes)
        shown = [{"run": plan.folder.root, "bytes": plan.bytes, "items": plan.items} for plan in plans]
        answer({"removed": shown if agreed else [], "left": [*left, *runs.faults.values()]})
        if not agreed:
            return
        for plan in plans:
            view = runs.views.get(plan.folder.root)
            lease_s = recipe_of_run(plan.folder).cluster.lease_s
            with changing(view, lease_s, notice) if view is not None else nullcontext():
                collect(plan)


def timeline(run: TimelineRun, out: TimelineOut = None) -> None:
    """Draw where a run's time went: a picture, a trace for Perfetto, and a table of wall, busy and idle seconds."""
    from pipelines.report.timeline.read import timeline_table
    from pipelines.report.timeline.trace import write_timeline
    from pipelines.runs.store.reading import readable

    with readable(run) as (root, view):
        if view is not None and out is None:
            out = Path("runs") / f"{root.name}-timeline"
        drawn = write_timeline(RunFolder(root), out)
    answer(drawn)
    console().print(timeline_table(drawn.timeline))
    lines = [f"picture: {drawn.picture}", f"trace, for ui.perfetto.dev: {drawn.trace}"]
    if unplaced := drawn.timeline.unplaced:
        lines.insert(0, f"{unplaced} stages, of an earlier version, are laid end to end: when is unknown.")
    for line in lines:
        say(line)


def explain(
    run: RunArgument,
    prompt: Annotated[str, typer.Argument(metavar="PROMPT_ID", help="The id of a prompt of the run.")],
    nearest: Annotated[
        int,
        typer.Option(min=0, help="So many of the nearest training prompts, by the deployed policy's token embeddings."),
    ] = 3,
) -> None:
    """Show what a run knows of one prompt: answers and labels, what decisions made of it, nearest training rows."""
    from pipelines.report.explanation import explanation_page
    from pipelines.runs.finished.explain import deployed_model
    from pipelines.runs.finished.explain import explain as explain_prompt
    from pipelines.runs.store.reading import readable

    with readable(run) as (root, view):
        if view is not None:
            view.fetch_all()
        folder = RunFolder(root)
        model = deployed_model(folder)
        found = explain_prompt(folder, prompt, nearest, model)
    answer(found)
    console().print(explanation_page(found), highlight=False)
    if nearest and model is None:
        say("The deployed policy's folder is not here, so the nearest rows cannot be told.")


def export(
    run: RunArgument,
    to: Annotated[
        Target,
        typer.Option(
            help="inspect: .eval logs; lm-eval: capability; argilla and label-studio: tasks for people; hf-dataset and"
            " csv: answers, judgments and pairs."
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A folder that is not there yet (RUN-TO beside the run).")
    ] = None,
    prompts: AnswerSets = None,
    policy: AnswerPolicies = None,
    judged: Annotated[
        bool, typer.Option("--judged", help="Show the judge's label in tasks, with which people tend to agree.")
    ] = False,
) -> None:
    """Write a run for another program. Prompts and answers are in it: keep it as private as the run.

    salus review import reads labels back that people gave in Argilla or Label Studio.
    """
    from pipelines.runs.finished.export.answers import Wanted, prompt_sets
    from pipelines.runs.finished.export.export import export_run
    from pipelines.runs.store.reading import readable

    with readable(run) as (root, view):
        if view is not None:
            view.fetch_all()
        place = out or (root.parent if view is None else Path("runs")) / f"{root.name}-{to}"
        wanted = Wanted(prompts=prompt_sets(prompts or ()), policies=tuple(policy or ()))
        done = export_run(RunFolder(root), to, place, wanted, judged)
    counts = ", ".join(f"{n:,} {what}" for what, n in done.counts.items())
    answer(done)
    say(f"{counts} in {place} ({len(done.files)} files)")


def status(run: RunArgument) -> None:
    """Say how far each cycle of a run is, and what it decided."""
    from pipelines.cli.align import show
    from pipelines.cli.runs.page import progress_of, progress_table
    from pipelines.runs.finished.shape import recipe_of_run
    from pipelines.runs.store.reading import readable
    from pipelines.runs.summary import find_summary

    with readable(run) as (root, _):
        folder = RunFolder(root)
        recipe = recipe_of_run(folder)
        progress, summary = progress_of(folder, recipe), find_summary(folder.summary)
        answer({"recipe": recipe.name, "seed": recipe.seed, "cycles": progress, "summary": summary})
        console().print(progress_table(recipe, progress))
        if summary:
            show(summary)


def _agreed(plans: Sequence[GcPlan], left: Sequence[str], yes: bool) -> bool:
    """Show what would go and what is left alone; whether to go on."""
    from pipelines.report.runs_tables import gc_table

    out = console()
    for sentence in left:
        out.print(sentence, markup=False, highlight=False, soft_wrap=True)
    if not plans:
        out.print("Nothing to remove.")
        return False
    out.print(gc_table(plans), highlight=False)
    out.print(f"{decimal(sum(plan.bytes for plan in plans))} in all.", highlight=False)
    if not yes and told().json:
        raise SalusError("--json asks no one; add --yes once salus runs gc without --json has shown what would go.")
    if not yes:
        typer.confirm("Remove this?", abort=True, err=True)
    return True


def _said(checked: Checked) -> str:
    parts = (("changed", checked.changed), ("missing", checked.missing), ("added", checked.added))
    return "; ".join(f"{what}: {_few(names)}" for what, names in parts if names)


def _few(names: tuple[str, ...]) -> str:
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")
