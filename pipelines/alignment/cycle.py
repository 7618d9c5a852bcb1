"""The six steps of a cycle, in order. Each step leaves files, and files that are there are not made again."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import ray

from actors.contract.records import ROW_NAMES, PolicyRef, RowKind
from actors.contract.seeds import derive_seed
from actors.coordinator.coordinator import CycleOutcome
from actors.coordinator.state import NO_ROWS
from actors.errors import SalusError
from actors.files.atomic import remove
from pipelines.alignment.evaluation import Evaluation, evaluate
from pipelines.alignment.measurements.published import measure_published, unmeasured
from pipelines.alignment.preference import Beside, PreferenceReport, build_rows
from pipelines.alignment.rows.red_team import red_team
from pipelines.alignment.run import Run
from pipelines.alignment.served import RunEndpoint
from pipelines.alignment.streamed import run_stream, tell_cut_off
from pipelines.alignment.training.merge import merge
from pipelines.alignment.training.runs import Training, WatchedTraining
from pipelines.cluster.stream import StreamReport
from pipelines.cluster.times import StageClock, Stopwatch, Work
from pipelines.feedback.review.snapshot import cycle_reviews
from pipelines.feedback.snapshot import snapshot_feedback
from pipelines.judges.evidence import applied_temperature, judge_in_run
from pipelines.report.decision_page.from_run import write_pages
from pipelines.runs.stage_log import cycle_clock

POLL_S = 0.25


def run_cycle(run: Run, training: Training, cycle: int, endpoint: RunEndpoint) -> CycleOutcome:
    """Generate and judge, shuffle, train, perhaps merge, compare, decide, publish; measure what was published.

    Args:
        endpoint: asked for before the first publication; a run's last turn may be its.

    Raises:
        SalusError: the judge may not select policies, too many answers got no label, no challenger has rows, or none
            could be trained.
            Also where another process has taken the run folder over.
    """
    champion = run.champion()
    evaluation = Evaluation(run, cycle, champion)
    with cycle_clock(run.folder, cycle) as clock:
        with leased_stage(run, clock, "rollout") as stage:
            streamed = rollout(run, cycle, champion)
            stage.worked(streamed.work)
            if streamed.generated:
                clock.streamed(streamed.overlapped)
            if run.recipe.red_team is None:
                run.pools.rest()
        if run.recipe.red_team is not None:
            with leased_stage(run, clock, "red team") as stage:
                stage.worked(red_team(run, cycle, champion))
                run.pools.rest()
        with leased_stage(run, clock, "preference"):
            judge_in_run(run.recipe, run.folder, run.reporter)
            preference(run, cycle)
        with leased_stage(run, clock, "train") as stage:
            stage.worked(train(run, training, cycle, evaluation))
            stage.worked(evaluation.work)
        if run.recipe.merge is not None:
            with leased_stage(run, clock, "merge") as stage:
                stage.worked(merge(run, cycle, champion))
        endpoint.evaluating()
        with leased_stage(run, clock, "evaluate") as stage:
            stage.worked(evaluate(run, cycle, champion, evaluation))
        with leased_stage(run, clock, "decide"):
            if not endpoint.last and endpoint.up():
                # It may have taken minutes to start.
                run.check_lease()
            if run.store is not None:
                # The decision, and all it rests on, is in the store before a client is served by it.
                ray.get(run.coordinator.decide.remote(cycle, publish=False))
                run.store.keep()
            # By the record, where there is one by now.
            outcome: CycleOutcome = ray.get(run.coordinator.decide.remote(cycle, publish=not endpoint.last))
            write_pages(run.folder, run.recipe, cycle)
        if unmeasured(run):
            with leased_stage(run, clock, "published") as stage:
                stage.worked(measure_published(run))
    return outcome


@contextmanager
def leased_stage(run: Run, clock: StageClock, name: str) -> Iterator[Stopwatch]:
    """One stage on the clock, begun only while the run folder is this process's own."""
    run.check_lease()
    try:
        with run.metrics.stage(clock.cycle, name), clock.stage(name) as stage:
            yield stage
    finally:
        run.metrics.ended(clock.last)
    run.note()


def rollout(run: Run, cycle: int, champion: PolicyRef) -> StreamReport:
    """k answers of the champion per prompt, judged as they come."""
    report = run_stream(run, f"cycle {cycle}", run.train_tasks(cycle, champion))
    if run.recipe.preference.judged:
        tell_cut_off(run, f"cycle {cycle}", run.folder.rollouts(cycle))
    return report


def preference(run: Run, cycle: int) -> dict[RowKind, PreferenceReport]:
    """The rows that the challengers learn from, of this cycle's judgments, and with replay of all earlier ones.

    Raises:
        SalusError: no challenger has any.
    """
    config = run.recipe.preference
    said = snapshot_feedback(config.feedback, run.folder, cycle, run.materials.policy)
    if said is not None:
        run.reporter.say(f"cycle {cycle}: {said.sentence()}")
    feedback = run.folder.feedback(cycle) if said is not None else None
    folders = [run.folder.judgments(c) for c in config.cycles_of_rows(cycle)]
    reviews = cycle_reviews(run.folder, cycle, config.reviews, folders)
    if reviews is not None:
        run.reporter.say(f"cycle {cycle}: {reviews.report.sentence()}")
    temperature = None
    if config.min_confidence > 0:
        temperature = applied_temperature(run.recipe, run.folder, run.reporter)
    beside = Beside(run.folder.pairs, feedback, reviews.labels if reviews is not None else None, temperature)

    seed = derive_seed(run.recipe.seed, "preference", cycle)
    # One after the other: each shuffle fills the cluster by itself, and the second finds the first one's workers.
    reports = {
        kind: build_rows(kind, folders, run.folder.rows(cycle, kind), config, run.recipe.scores, seed, beside)
        for kind in run.recipe.train.row_kinds
    }
    check_rows(reports, folders, [run.folder.rows(cycle, kind) for kind in reports])
    rows = ", ".join(_rows(kind, report) for kind, report in reports.items())
    run.reporter.say(f"cycle {cycle}: {rows}")
    return reports


def check_rows(reports: Mapping[RowKind, PreferenceReport], judgments: Sequence[Path], rows: Sequence[Path]) -> None:
    """Refuse a cycle in which no challenger has a row to learn from; one without rows is left out.

    Raises:
        SalusError: says what to change; the empty rows are forgotten, so that the same command makes them again.
    """
    if any(report.rows for report in reports.values()):
        return
    for folder in rows:
        remove(folder / "report.json")
    names = " or ".join(ROW_NAMES[kind].upper() for kind in reports)
    if not judgments:
        raise SalusError(f"preference.egida_pairs give no {names} rows; leave it out, or take another config of it.")
    raise SalusError(
        f"The judgments in {', '.join(map(str, judgments))} give no {names} rows: every answer"
        " has the same mark; sample more answers per prompt (generate.sampling.k) or check the judge."
    )


def _rows(kind: RowKind, report: PreferenceReport) -> str:
    name = ROW_NAMES[kind].upper()
    if not report.rows:
        # "no pairs" or "no rows", as in the decision's record.
        return f"{NO_ROWS[kind].partition(':')[0]} for {name}"
    return f"{report.rows} {name} rows{report.outside()}"


def train(run: Run, training: Training, cycle: int, evaluation: Evaluation | None = None) -> list[Work]:
    """All challengers at the same time, from the champion; returns when each trainer worked.

    Args:
        evaluation: measures a challenger while another one still trains.

    Raises:
        SalusError: no challenger could be trained.
    """
    watched = WatchedTraining(run, training, cycle)
    while not watched.over:
        time.sleep(POLL_S)
        watched.look()
        if evaluation is not None and run.pools.stay_up and watched.trained and not watched.over:
            evaluation.measure(watched.trained, watched.look)
    work = watched.close()
    if not run.pools.stay_up:
        training.leave()
    return work
