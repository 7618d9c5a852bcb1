"""Alignment, read aloud: actors up, N cycles, the final test, actors down."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import ray

from actors.contract.records import PolicyRef
from actors.contract.run_folder import RunFolder
from actors.contract.session_logs import kept_logs
from actors.errors import SalusError
from actors.files.private import private_files
from actors.serve.address import check_address
from pipelines.alignment.capability import prepare_capability
from pipelines.alignment.cycle import run_cycle
from pipelines.alignment.finish import final_rollouts, report
from pipelines.alignment.measurements.harmfulness import check_rater
from pipelines.alignment.measurements.outside import label_outside
from pipelines.alignment.measurements.published import measure_published
from pipelines.alignment.measurements.schemes import check_schemes, measure_schemes, without_examples
from pipelines.alignment.preference import shuffle_blocks, warm_up
from pipelines.alignment.rows.demonstrations import write_demonstrations
from pipelines.alignment.rows.egida_pairs import write_pairs
from pipelines.alignment.run import Run, start_coordinator
from pipelines.alignment.served import RunEndpoint, served_answers
from pipelines.alignment.training.fine_tune import fine_tune
from pipelines.alignment.training.runs import Training, TrainingRuns
from pipelines.alignment.training.shared import SharedTrainingRuns
from pipelines.cluster.machine.memory import MemoryWatch
from pipelines.cluster.nodes import NodeWatch, node_check
from pipelines.cluster.plan import settled
from pipelines.cluster.progress import Reporter
from pipelines.cluster.session import session
from pipelines.cluster.turns.pools import open_pools
from pipelines.config.recipe import Recipe
from pipelines.decision.ending import is_over
from pipelines.decision.record import read_decision
from pipelines.feedback.control.second_judge import hold_second_judge
from pipelines.feedback.snapshot import check_feedback
from pipelines.feedback.uploads import uploading
from pipelines.judges.evidence import judge_before_run, record_trust
from pipelines.registry.register import register_awaiting, register_published
from pipelines.registry.stored import open_registry
from pipelines.report.metrics.run import gpu_shares
from pipelines.report.tracking.follow import tracked
from pipelines.report.tracking.port import check_trackers
from pipelines.runs.finished.manifest import seal_run
from pipelines.runs.materials import Materials
from pipelines.runs.models import at_hand, models_of_run
from pipelines.runs.open import Hold, add_cost, hold_run
from pipelines.runs.outcomes import past_outcomes
from pipelines.runs.prompts.sets import write_prompts
from pipelines.runs.stage_log import StageLog
from pipelines.runs.store.place import Place, working_folder
from pipelines.runs.summary import Summary, complete_summary

# How long resident trainers have to end by themselves where all went well.
CLOSE_S = 30.0


@private_files()
def align(
    recipe: Recipe,
    root: Place,
    reporter: Reporter,
    fresh: bool = False,
    while_served: Callable[[str], None] | None = None,
) -> Summary:
    """Run all cycles of a recipe, or what is left of them; returns the summary written to the run folder.

    Args:
        root: the run folder, or the address of a run; the same command on the same one goes on where it stopped.
        fresh: forget what the folder holds.
        while_served: called with the endpoint's address after the last cycle, while it still answers.

    Raises:
        SalusError: whatever the user can mend, before anything costly where that can be known. Also where another
            process is at work in the folder, or has taken it over.
    """
    check_trackers(recipe.tracking)
    recipe = settled(recipe)
    trust = judge_before_run(recipe)
    hold_second_judge(recipe)
    # A finished run reads no more feedback, which may be gone by now.
    if fresh or complete_summary(RunFolder(working_folder(root)).summary, recipe.cycles) is None:
        check_feedback(recipe.preference.feedback)
    with hold_run(recipe, root, reporter, fresh) as (folder, hold), tracked(recipe, folder, reporter.say):
        summary = complete_summary(folder.summary, recipe.cycles) if while_served is None else None
        if summary is not None:
            if not folder.sums.is_file():
                # An earlier process was stopped between its last two steps.
                _seal(recipe, folder, reporter)
            reporter.say(f"{folder.root if hold.store is None else root} is complete; --fresh runs it anew.")
            return summary
        record_trust(folder, trust, reporter)
        return _align_held(recipe, folder, hold, reporter, while_served)


def _align_held(
    recipe: Recipe,
    folder: RunFolder,
    hold: Hold,
    reporter: Reporter,
    while_served: Callable[[str], None] | None,
) -> Summary:
    """What `align` does once the run folder is this process's own."""
    if recipe.publish.enabled:
        if recipe.cluster.joined is None:
            check_address(recipe.publish)
        if recipe.publish.registry is not None:
            open_registry(recipe.publish.registry).prepare()
    log = StageLog(folder)
    start = time.perf_counter()
    notes: list[str] = []
    nodes = NodeWatch()
    with MemoryWatch() as memory:
        try:
            with log.stage("prepare"):
                materials = models_of_run(recipe, folder, reporter, hold.check)
                hold.check()
                write_prompts(recipe, folder)
                write_pairs(recipe.preference.egida_pairs, folder, recipe.data.held_out)
                write_demonstrations(recipe, folder)
                prepare_capability(recipe, folder, materials.policy)
                check_rater(recipe, materials)
                check_schemes(recipe, folder, materials.policy)
            namespace = f"salus-{folder.root.name}-{uuid.uuid4().hex[:8]}"
            with contextlib.ExitStack() as up:
                if recipe.publish.enabled:
                    up.enter_context(uploading([recipe.publish.feedback], reporter.say))
                with log.stage("start-up"):
                    up.enter_context(session(at_hand(recipe, materials), namespace))
                    up.enter_context(kept_logs(folder))
                    if recipe.cluster.joined is not None:
                        up.enter_context(nodes.watching())
                    check_nodes = node_check(recipe.cluster, folder.root, materials.folders)
                    check_nodes()
                    made = (recipe, folder, materials, namespace, reporter, hold, check_nodes)
                    actors = up.enter_context(_actors(*made)) if recipe.sft is None else None
                if actors is None:
                    # Before the engines, which start with the new policy, and take no memory meanwhile.
                    fine_tune(recipe, folder, materials, reporter, hold.check)
                    with log.stage("start-up"):
                        actors = up.enter_context(_actors(*made))
                champion = _cycles(actors)
                actors.run.pools.forget()
                with log.stage("final test") as stage:
                    stage.worked(final_rollouts(actors.run, champion))
                if recipe.schemes:
                    with log.stage("schemes") as stage:
                        stage.worked(measure_schemes(actors.run, champion))
                    left_out = without_examples(recipe, folder)
                    notes.extend(
                        f"Scheme {name} was not measured: no train prompt has a good answer, to show as an example."
                        for name in left_out
                    )
                if recipe.judge.truth == "judge":
                    with log.stage("outside judge"):
                        label_outside(actors.run, champion)
                if recipe.publish.enabled:
                    if actors.endpoint.last:
                        with log.stage("endpoint"):
                            # Its replicas need the GPUs whole.
                            actors.run.pools.leave()
                            actors.endpoint.up()
                    with log.stage("served answers"):
                        actors.endpoint.up()
                        notes.append(served_answers(actors.run))
                    if while_served is not None:
                        while_served(f"{recipe.publish.url}/v1")
                with log.stage("shut-down"):
                    up.close()
        finally:
            # A lost lease is the cause of whatever else went wrong, and the cost's file is its new holder's.
            hold.check()
            cost = add_cost(folder, time.perf_counter() - start, memory.peak_gib, nodes.held)
    with log.stage("report"):
        summary = report(actors.run, champion, cost, tuple(notes))
    _seal(recipe, folder, reporter)
    return summary


def _seal(recipe: Recipe, folder: RunFolder, reporter: Reporter) -> None:
    """Vouch for a run that has come to its end, and register what it published."""
    seal_run(recipe, folder)
    if recipe.publish.enabled and recipe.publish.registry is not None:
        register_published(folder.root, recipe.publish.registry, reporter)


@dataclass(frozen=True)
class _Actors:
    run: Run
    training: Training
    endpoint: RunEndpoint


@contextlib.contextmanager
def _actors(
    recipe: Recipe,
    folder: RunFolder,
    materials: Materials,
    namespace: str,
    reporter: Reporter,
    hold: Hold,
    check_nodes: Callable[[], None],
) -> Iterator[_Actors]:
    """All actors of a run: engines first, because they are needed first; the rest comes up behind them."""
    if recipe.publish.enabled:
        check_address(recipe.publish)
    coordinator = start_coordinator(recipe, folder, materials, namespace, recipe.cycles, publish=True)
    champion: PolicyRef = ray.get(coordinator.champion.remote())
    pools = open_pools(recipe, champion, materials.judge)
    training = _training(recipe, folder, materials, coordinator, namespace)
    endpoint = RunEndpoint(recipe, coordinator)
    endpoint.begin()
    with contextlib.ExitStack() as down:
        # Each of these is tried, whatever became of those before it.
        down.callback(ray.kill, coordinator)
        down.callback(pools.close)
        if recipe.publish.enabled:
            down.callback(lambda: ray.get(coordinator.stop_publisher.remote()))
        down.push(lambda _, error, trace: training.close(CLOSE_S if error is None else 0.0))
        bar = reporter.bar("engines, trainers and endpoint are starting", None, "")
        if not is_over(past_outcomes(folder, materials.policy, recipe.cycles), recipe.cycles):
            training.start()
            if pools.stay_up:
                answers = recipe.data.train_per_cycle * recipe.generate.sampling.k
                warm_up(shuffle_blocks(recipe.data.shards_per_cycle, answers, recipe.preference))
        try:
            pools.wait(recipe.cluster.wait_s)
        except SalusError:
            # Of a folder that its node does not see, an engine speaks in the words of a library.
            check_nodes()
            raise
        # Of the nodes that came for the engines.
        check_nodes()
        bar.close()

        def check() -> None:
            hold.check()
            endpoint.check()

        gpus = gpu_shares(at_hand(recipe, materials))
        run = Run(recipe, folder, materials, pools, coordinator, reporter, check, hold.store, gpus)
        yield _Actors(run, training, endpoint)


def _training(recipe: Recipe, folder: RunFolder, materials: Materials, coordinator: Any, namespace: str) -> Training:
    """The run's own trainers, or those that it shares with others."""
    shared = recipe.cluster.shared_trainers
    if shared is not None:
        return SharedTrainingRuns(shared, coordinator, namespace)
    unique, storage = uuid.uuid4().hex[:8], str(folder.train_storage)
    return TrainingRuns(at_hand(recipe, materials), coordinator, namespace, unique, storage)


def _cycles(actors: _Actors) -> PolicyRef:
    """The cycles that are not decided yet; returns the last champion."""
    run = actors.run
    # An earlier process may have been stopped between a publication and its figures.
    measure_published(run)
    outcomes = past_outcomes(run.folder, run.materials.policy, run.recipe.cycles)
    while not is_over(outcomes, run.recipe.cycles):
        cycle = len(outcomes) + 1
        outcome = run_cycle(run, actors.training, cycle, actors.endpoint)
        outcomes.append(outcome)
        if outcome.chosen == "champion":
            run.reporter.say(f"cycle {cycle}: the champion stays ({outcome.champion.version})")
        else:
            live = f", live as {outcome.published.version}" if outcome.published else ""
            run.reporter.say(f"cycle {cycle}: {outcome.chosen.upper()} wins: {outcome.champion.version}{live}")
        if outcome.refused is not None:
            run.reporter.say(f"cycle {cycle}: {outcome.refused}")
        if read_decision(run.folder.decision(cycle)).approval is not None and run.recipe.publish.registry is not None:
            # A person need not wait for the run's end.
            register_awaiting(run.folder.root, run.recipe.publish.registry, run.reporter)
    if outcomes[-1].ended is not None:
        run.reporter.say(outcomes[-1].ended)
    return run.champion()
