"""`salus align`: whole cycles; `salus sft`: what may precede them; `salus generate` and others: one step of a cycle."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from actors.contract.run_folder import RunFolder
from actors.errors import SalusError
from pipelines.cli.console.commands import FactsCommand
from pipelines.cli.console.options import (
    AcceptUnreliable,
    DataFolder,
    Overrides,
    RecipeName,
    RunFolderOption,
    Seed,
    resolve,
    run_place,
    wait_for_ctrl_c,
)
from pipelines.cli.console.output import answer, console, error_console, notice, reporter, say
from pipelines.cluster.progress import Reporter
from pipelines.config.recipe import Recipe
from pipelines.report.judges.judging import judging_lines
from pipelines.report.summary_tables import (
    attack_table,
    capability_tables,
    cycles_table,
    fine_tuned_tables,
    harmfulness_table,
    published_table,
    schemes_table,
    scores_by_source,
    test_table,
)
from pipelines.runs.checksums import run_hash
from pipelines.runs.store.place import Place, working_folder
from pipelines.runs.summary import Summary

if TYPE_CHECKING:
    from pipelines.report.decision_page.content import DecisionPage

Cycle = Annotated[int, typer.Option(min=1, help="Which cycle, counted from 1.")]
Result = TypeVar("Result")


def register(app: typer.Typer) -> None:
    app.command(cls=FactsCommand, epilog="Example: salus align demo --seed 3 --set train.challengers.kto.beta=0.2")(
        align
    )
    app.command(cls=FactsCommand, epilog="Example: salus sft medsafety --data DIR --set sft.epochs=3")(sft)
    app.command(cls=FactsCommand, epilog="Example: salus generate demo --cycle 1")(generate)
    app.command(cls=FactsCommand, epilog="Example: salus train demo --cycle 1")(train)
    app.command(cls=FactsCommand, epilog="Example: salus evaluate demo --cycle 1")(evaluate)
    app.command(cls=FactsCommand, epilog="Example: salus decide demo --cycle 1 --html decision.html")(decide)


def align(
    recipe: RecipeName,
    data: DataFolder = None,
    seed: Seed = None,
    overrides: Overrides = None,
    run: RunFolderOption = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start the run anew, forgetting what its folder holds.")
    ] = False,
    serve: Annotated[
        bool, typer.Option("--serve", help="Keep the endpoint up after the last cycle, until Ctrl-C.")
    ] = False,
    accept_unreliable: AcceptUnreliable = False,
) -> None:
    """Run a recipe's cycles: generate, judge, shuffle, train challengers, compare, publish.

    The same command goes on where an interrupted run stopped.
    """
    import pyarrow.parquet as pq

    from pipelines.alignment.align import align as run_alignment
    from pipelines.decision.ending import past_decisions
    from pipelines.report.judges.beside import beside_table, marks_table
    from pipelines.report.judges.judge_check import judge_check_lines, unseen_lines

    settings = resolve(recipe, overrides, seed, data, accept_unreliable, fetch=True)
    out = console()
    root = run_place(settings, run)

    def hold(url: str) -> None:
        notice(f"serving at {url} until Ctrl-C")
        wait_for_ctrl_c()

    with reporter().live() as progress:
        summary = run_alignment(settings, root, progress, fresh=fresh, while_served=hold if serve else None)
    sums = run_hash(RunFolder(working_folder(root)))
    answer({"run": str(root), "run_hash": sums, "summary": summary})
    show(summary)
    out.print(
        f"\nrun folder {root}: figure.png, metrics.parquet, summary.json, cycles/*/decision.html",
        highlight=False,
    )
    if sums is not None:
        out.print(f"run hash {sums}", highlight=False)
    decisions = past_decisions(RunFolder(working_folder(root)), settings.cycles)
    metrics = pq.read_table(RunFolder(working_folder(root)).metrics)
    for table in (beside_table(metrics, summary.reference), marks_table(metrics, summary.reference)):
        if table is not None:
            out.print(table)
    for line in (*judge_check_lines(decisions), *unseen_lines(decisions)):
        out.print(line, highlight=False, markup=False)


def show(summary: Summary) -> None:
    """Print a run's tables."""
    out = console()
    out.print(cycles_table(summary.cycles))
    if summary.published:
        out.print(published_table(summary.published, summary.reference))
    if summary.sft is not None:
        out.print(fine_tuned_tables(summary.sft))
    out.print(test_table(summary.test, summary.test_judged_by, summary.reference))
    if (attacks := attack_table(summary)) is not None:
        out.print(attacks)
    if summary.schemes:
        out.print(schemes_table(summary.schemes))
    if summary.harmfulness is not None:
        out.print(harmfulness_table(summary.harmfulness))
        if summary.harmfulness.champion.by_source:
            out.print(scores_by_source(summary.harmfulness))
    for name, agreement in (summary.judge_agreement or {}).items():
        kappa = f"{agreement.kappa.value:.2f}" if agreement.kappa else "undefined"
        accuracy = f"{agreement.accuracy.value:.3f}" if agreement.accuracy else "undefined"
        out.print(
            f"{name}: accuracy {accuracy}, kappa {kappa}, n {agreement.n}",
            highlight=False,
        )
    for name, share in (summary.measured or {}).items():
        out.print(f"{name}: {share.value:.3f} ({share.low:.3f}-{share.high:.3f})", highlight=False)
    if summary.capability is not None:
        kept = summary.capability
        out.print(
            capability_tables({"base": kept.base, "champion": kept.champion}, "Capability: test split; 95 % intervals")
        )
    for line in judging_lines(summary):
        out.print(line, highlight=False)
    for note in summary.notes:
        out.print(note, highlight=False, markup=False)
    if summary.gpu_use is not None:
        out.print(summary.gpu_use.sentence(), highlight=False)
    out.print(f"{summary.wall_s:.0f} s, peak memory {summary.peak_memory_gib:.1f} GiB", highlight=False)


def sft(
    recipe: RecipeName,
    data: DataFolder = None,
    seed: Seed = None,
    overrides: Overrides = None,
    run: RunFolderOption = None,
    accept_unreliable: AcceptUnreliable = False,
) -> None:
    """Fine-tune the deployed policy on demonstrations alone, and measure it on the test split, before and after.

    The demonstrations and their training are the recipe's section sft. `salus align` of the same recipe goes on from
    the new policy.
    """
    from pipelines.alignment.steps import sft_step

    settings = resolve(recipe, overrides, seed, data, accept_unreliable, fetch=True)
    root = run_place(settings, run)
    with reporter().live() as progress:
        found = sft_step(settings, root, progress)
    answer(found)
    console().print(fine_tuned_tables(found))
    say(f"run folder {root}: cycles/00/sft/merged, cycles/00/figures.json")


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

    folder = run_step(generate_step, resolve(recipe, overrides, seed, data, fetch=True), run, cycle)
    answer({"rollouts": folder})
    say(f"rollouts in {folder}")


def train(
    recipe: RecipeName,
    cycle: Cycle = 1,
    data: DataFolder = None,
    seed: Seed = None,
    overrides: Overrides = None,
    run: RunFolderOption = None,
) -> None:
    """Shuffle a cycle's judgments into rows and train challengers on them."""
    from pipelines.alignment.steps import train_step

    reports = run_step(train_step, resolve(recipe, overrides, seed, data, fetch=True), run, cycle)
    answer(reports)
    for each in reports:
        say(f"{each.challenger.version}: {each.rows} rows, {each.steps} steps, {each.train_s:.0f} s, in {each.adapter}")


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

    outcome = run_step(evaluate_step, resolve(recipe, overrides, seed, data, accept_unreliable, fetch=True), run, cycle)
    answer({"cycle": cycle, "outcome": outcome})
    say(f"cycle {cycle}: {outcome.chosen}; the next cycle starts from {outcome.champion.version}")


def decide(
    recipe: RecipeName,
    cycle: Annotated[int | None, typer.Option(min=1, help="Which cycle of the run, counted from 1.")] = None,
    champion: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A folder of the champion's judged answers, in place of a run.")
    ] = None,
    challenger: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=DIR", help="The same of a challenger; repeated for each of them."),
    ] = None,
    control: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Trusted labels of these answers, as a run's control.parquet.")
    ] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write the page as one HTML file.")] = None,
    seed: Seed = None,
    overrides: Overrides = None,
    run: RunFolderOption = None,
) -> None:
    """Make one decision again from its judged answers and print its page; nothing in the run changes.

    With --set, the recipe's rule decides in place of the one on record. With --champion and --challenger, it decides on
    any folders of judged answers.
    """
    from actors.files.shards import write_text
    from pipelines.report.decision_page.on_answers import named_folders, page_on_answers
    from pipelines.report.decision_page.render import as_html, as_markdown

    settings = resolve(recipe, overrides, seed)
    if html is not None and (html.is_dir() or not html.absolute().parent.is_dir()):
        raise SalusError(f"{html} cannot be written: name a file in a folder that is there.")
    if champion is not None:
        page = page_on_answers(settings, champion, named_folders(challenger or ()), control, cycle or 1)
    elif challenger or control is not None:
        raise SalusError("--challenger and --control are for judged answers outside a run; add --champion DIR.")
    elif cycle is None:
        raise SalusError("Name a cycle of the run with --cycle, or folders with --champion and --challenger.")
    else:
        page = _page_made_again(settings, run, cycle, by_recipe=bool(overrides))
    if html is not None:
        write_text(as_html(page), html)
    answer(page)
    console().print(as_markdown(page), markup=False, highlight=False, soft_wrap=True, end="")


def _page_made_again(settings: Recipe, run: str | None, cycle: int, by_recipe: bool) -> DecisionPage:
    """Of a run's cycle, by the rule on record or by the recipe's; says where the record differs."""
    from pipelines.report.decision_page.from_run import page_of
    from pipelines.runs.finished.audit import audit_cycle
    from pipelines.runs.finished.shape import recipe_of_run
    from pipelines.runs.store.reading import readable

    with readable(str(run_place(settings, run))) as (root, view):
        folder = RunFolder(root)
        if view is not None:
            view.fetch_below(folder.evaluations("validation"))
            for labels in sorted(folder.root.glob("cycles/*/control.parquet")):
                view.fetch_file(labels)
        found = audit_cycle(folder, cycle, (settings.decide, settings.scores) if by_recipe else None)
        page = page_of(folder, recipe_of_run(folder), found.now, _approval(settings, folder, found.now.policy))
    if not found.same_choice:
        published = "published" if found.recorded.publish else "not published"
        said = f"the record of cycle {cycle} says otherwise: {found.recorded.chosen}, {published}"
        error_console().print(f"salus: {said}", markup=False, highlight=False, soft_wrap=True)
    return page


def _approval(settings: Recipe, folder: RunFolder, policy: str | None) -> str | None:
    """Who approved a run's policy, as the recipe's registry says; None where it knows nothing of that."""
    from pipelines.registry.stored import open_registry

    where = settings.publish.registry
    if where is None or (":/" not in str(where) and not where.is_dir()):
        return None
    store = open_registry(where)
    own = [e for e in store.entries() if (e.origin.run, e.origin.run_version) == (str(folder.root), policy)]
    given = store.history.approvals().get(own[0].version) if own else None
    return f"Approved by {given.approved_by} at {given.time}: {given.why}." if given is not None else None


def run_step(
    step: Callable[[Recipe, Place, Reporter, int], Result], recipe: Recipe, run: str | None, cycle: int
) -> Result:
    """Run one step of a run, with its progress on the console."""
    with reporter().live() as progress:
        return step(recipe, run_place(recipe, run), progress, cycle)
