"""The six steps of a cycle, in order. Each step leaves files, and files that are there are not made again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import ray

from actors.coordinator import CycleOutcome
from actors.coordinator_state import TrainingState
from actors.errors import SalusError
from actors.records import Algorithm, PolicyRef
from actors.seeds import derive_seed
from pipelines.capability.measure import measure_capability
from pipelines.clock import StageClock, Stopwatch, Work, engine_work, trainer_work
from pipelines.judge_evidence import judge_in_run
from pipelines.preference import PreferenceReport, build_rows
from pipelines.progress import Bar
from pipelines.rollout import Limits, ShardTask, StreamReport, stream
from pipelines.run import Run
from pipelines.stage_log import cycle_clock
from pipelines.training import TrainingRuns

POLL_S = 0.25


def run_cycle(run: Run, training: TrainingRuns, cycle: int, endpoint: ray.ObjectRef[Any] | None) -> CycleOutcome:
    """Generate and judge, shuffle, train, compare, decide, publish.

    Args:
        endpoint: of the endpoint's start, waited for before the first publication.

    Raises:
        SalusError: the judge may not select policies, no challenger could be trained, too many answers got no label,
            or another process has taken the run folder over.
    """
    champion = run.champion()
    with cycle_clock(run.folder, cycle) as clock:
        with leased_stage(run, clock, "rollout") as stage:
            streamed = rollout(run, cycle, champion)
            stage.worked(streamed.work)
            if streamed.generated:
                clock.streamed(streamed.overlapped)
        with leased_stage(run, clock, "preference"):
            judge_in_run(run.recipe, run.folder, run.reporter)
            preference(run, cycle)
        with leased_stage(run, clock, "train") as stage:
            stage.worked(train(run, training, cycle))
        with leased_stage(run, clock, "evaluate") as stage:
            stage.worked(evaluate(run, cycle, champion))
        with leased_stage(run, clock, "decide"):
            if endpoint is not None:
                ray.get(endpoint)
                # It may have taken minutes to start.
                run.check_lease()
            if run.store is not None:
                # The decision, and all it rests on, lies in the store before anybody is served by it.
                ray.get(run.coordinator.decide.remote(cycle, publish=False))
                run.store.keep()
            outcome: CycleOutcome = ray.get(run.coordinator.decide.remote(cycle))
    return outcome


@contextmanager
def leased_stage(run: Run, clock: StageClock, name: str) -> Iterator[Stopwatch]:
    """One stage on the clock, begun only while the run folder is this process's own."""
    run.check_lease()
    with clock.stage(name) as stage:
        yield stage
    run.note()


def rollout(run: Run, cycle: int, champion: PolicyRef) -> StreamReport:
    """k answers of the champion per prompt, judged as they come."""
    return run_stream(run, f"cycle {cycle}", run.train_tasks(cycle, champion))


def preference(run: Run, cycle: int) -> dict[Algorithm, PreferenceReport]:
    """KTO rows and DPO pairs from this cycle's judgments, and with replay from all earlier ones."""
    config = run.recipe.preference
    first = 1 if config.replay else cycle
    folders = [run.folder.judgments(c) for c in range(first, cycle + 1)]

    seed = derive_seed(run.recipe.seed, "preference", cycle)
    # One after the other: each shuffle fills the cluster by itself, and the second finds the first one's workers.
    reports = {
        a: build_rows(a, folders, run.folder.rows(cycle, a), config, run.recipe.scores, seed, run.folder.pairs)
        for a in run.recipe.train.algorithms
    }
    rows = ", ".join(
        f"{report.rows} {a.upper()} rows{f' ({report.egida} of Egida)' if report.egida else ''}"
        for a, report in reports.items()
    )
    run.reporter.say(f"cycle {cycle}: {rows}")
    return reports


def train(run: Run, training: TrainingRuns, cycle: int) -> list[Work]:
    """KTO and DPO at the same time, from the champion; returns when each trainer worked.

    Raises:
        SalusError: no challenger could be trained.
    """
    algorithms = run.recipe.train.algorithms
    jobs = ray.get(run.coordinator.assign.remote(cycle, algorithms))
    training.begin(jobs)
    bars = {a: run.reporter.bar(f"cycle {cycle}: training {a.upper()}", None, "steps") for a in algorithms}
    states: dict[Algorithm, TrainingState] = {}
    while len(states) < len(algorithms) or not all(state.ended for state in states.values()):
        time.sleep(POLL_S)
        run.check_lease()
        training.watch(jobs)
        states = ray.get(run.coordinator.training_state.remote(cycle))
        for algorithm, state in states.items():
            bars[algorithm].at(state.step, state.total)
    for bar in bars.values():
        bar.close()
    failures = [f"{a.upper()}: {state.failure}" for a, state in states.items() if state.failure is not None]
    for failure in failures:
        run.reporter.say(f"cycle {cycle}: training failed, {failure}")
    if len(failures) == len(algorithms):
        raise SalusError(f"No challenger of cycle {cycle} could be trained. {' '.join(failures)}")
    return trainer_work(state.report for state in states.values() if state.report is not None)


def evaluate(run: Run, cycle: int, champion: PolicyRef) -> list[Work]:
    """Champion and challengers on the validation split, greedy, in the same warm engines, and their capability.

    Returns when each engine worked.
    """
    policies = [champion, *trained(run, cycle)]
    tasks = [task for policy in policies for task in run.evaluation_tasks("validation", policy, champion)]
    report = run_stream(run, f"cycle {cycle} validation", tasks)
    scored = measure_capability(run, "validation", policies, champion)
    return [*report.work, *engine_work("generator", scored)]


def trained(run: Run, cycle: int) -> list[PolicyRef]:
    """The cycle's challengers whose training came to its end."""
    return [
        run.folder.challenger(cycle, a)
        for a in run.recipe.train.algorithms
        if (run.folder.training(cycle, a) / "report.json").is_file()
    ]


def run_stream(run: Run, name: str, tasks: Sequence[ShardTask]) -> StreamReport:
    """Stream tasks through the pools, with bars.

    Raises:
        SalusError: more answers than the recipe allows got no usable label.
    """
    k = tasks[0].rollout.sampling.k if tasks else 1
    total = sum(shard_rows(task) for task in tasks if not task.done) * k
    generated = run.reporter.bar(f"{name}: generating", total, "answers")
    judged = run.reporter.bar(f"{name}: judging", total, "answers")
    try:
        limits = Limits(run.recipe.generate.shard_timeout_s, run.recipe.judge.shard_timeout_s)
        count, pools = (_count(run, generated), _count(run, judged)), run.pools
        report = stream(tasks, pools.generators, pools.judges, *count, limits=limits)
    finally:
        generated.close()
        judged.close()
    rows = sum(span.rows for span in report.judged)
    if rows and report.unlabelled / rows > run.recipe.judge.max_missing:
        raise SalusError(
            f"The judge gave no usable label for {report.unlabelled} of {rows} answers ({name}), more than"
            f" judge.max_missing {run.recipe.judge.max_missing:g} allows; take another judge or prompt, or lower"
            " judge.min_coverage."
        )
    return report


def _count(run: Run, bar: Bar) -> Callable[[int], None]:
    """Told of every shard that comes back."""

    def shard(rows: int) -> None:
        bar.advance(rows)
        run.check_lease()
        run.note()

    return shard


def shard_rows(task: ShardTask) -> int:
    """Prompts in a task's shard, from the file's footer."""
    import pyarrow.parquet as pq

    return int(pq.read_metadata(task.rollout.prompts).num_rows)
