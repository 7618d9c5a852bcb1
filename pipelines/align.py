"""Alignment, read aloud: actors up, N cycles, the final test, actors down."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray

from actors.publisher import check_port_free
from actors.records import PolicyRef
from actors.run_folder import RunFolder
from pipelines.capability.measure import prepare_capability
from pipelines.checksums import write_sums
from pipelines.config.recipe import Recipe
from pipelines.cycle import run_cycle
from pipelines.egida_pairs import write_pairs
from pipelines.finish import final_rollouts, report
from pipelines.harmfulness.measure import check_rater
from pipelines.judge_evidence import judge_before_run, record_trust
from pipelines.materials import Materials, gather_models, write_prompts
from pipelines.memory import MemoryWatch
from pipelines.open_run import add_cost, note_models, open_run
from pipelines.pools import Pools, spawn
from pipelines.preference import shuffle_blocks, warm_up
from pipelines.progress import Reporter
from pipelines.report.summary import Summary, complete_summary
from pipelines.run import Run, past_outcomes, start_coordinator
from pipelines.served import served_answers
from pipelines.session import session
from pipelines.training import TrainingRuns


def align(
    recipe: Recipe,
    root: Path,
    reporter: Reporter,
    fresh: bool = False,
    while_served: Callable[[str], None] | None = None,
) -> Summary:
    """Run all cycles of a recipe, or what is left of them; returns the summary written to the run folder.

    Args:
        root: the run folder; the same command on the same folder goes on where it stopped.
        fresh: forget what the folder holds.
        while_served: called with the endpoint's address after the last cycle, while it still answers.

    Raises:
        SalusError: whatever the user can mend, before anything costly where that can be known.
    """
    trust = judge_before_run(recipe)
    folder = open_run(recipe, root, fresh)
    summary = complete_summary(folder.summary, recipe.cycles) if while_served is None else None
    if summary is not None:
        reporter.say(f"{folder.root} is complete; --fresh runs it anew.")
        return summary
    record_trust(folder, trust, reporter)
    if recipe.publish.enabled:
        check_port_free(recipe.publish.host, recipe.publish.port)
    start = time.perf_counter()
    notes: list[str] = []
    with MemoryWatch() as memory:
        try:
            materials = gather_models(recipe, reporter)
            note_models(folder, materials)
            write_prompts(recipe, folder)
            write_pairs(recipe.preference.egida_pairs, folder)
            prepare_capability(recipe, folder, materials.policy)
            check_rater(recipe, materials)
            namespace = f"salus-{folder.root.name}-{uuid.uuid4().hex[:8]}"
            with (
                session(recipe, namespace),
                _actors(recipe, folder, materials, namespace, reporter) as actors,
            ):
                champion = _cycles(actors)
                final_rollouts(actors.run, champion)
                if actors.endpoint is not None:
                    notes.append(served_answers(actors.run))
                    if while_served is not None:
                        while_served(f"http://{recipe.publish.host}:{recipe.publish.port}/v1")
                run = actors.run
        finally:
            cost = add_cost(folder, time.perf_counter() - start, memory.peak_gib)
    summary = report(run, champion, cost, tuple(notes))
    write_sums(folder)
    return summary


@dataclass(frozen=True)
class _Actors:
    run: Run
    training: TrainingRuns
    endpoint: ray.ObjectRef[Any] | None


@contextlib.contextmanager
def _actors(
    recipe: Recipe, folder: RunFolder, materials: Materials, namespace: str, reporter: Reporter
) -> Iterator[_Actors]:
    """All actors of a run: engines first, because they are needed first; the rest comes up behind them."""
    coordinator = start_coordinator(recipe, folder, materials, namespace, recipe.cycles, publish=True)
    champion: PolicyRef = ray.get(coordinator.champion.remote())
    pools: Pools = spawn(recipe, champion, materials.judge, generate=True, label=True)
    training = TrainingRuns(recipe, coordinator, namespace, uuid.uuid4().hex[:8], str(folder.train_storage))
    endpoint = coordinator.start_publisher.remote() if recipe.publish.enabled else None
    try:
        bar = reporter.bar("engines, trainers and endpoint are starting", None, "")
        if len(past_outcomes(folder, materials.policy, recipe.cycles)) < recipe.cycles:
            training.start()
            answers = recipe.data.train_per_cycle * recipe.generate.sampling.k
            warm_up(shuffle_blocks(recipe.data.shards_per_cycle, answers, recipe.preference))
        pools.wait(recipe.cluster.wait_s)
        bar.close()
        yield _Actors(Run(recipe, folder, materials, pools, coordinator, reporter), training, endpoint)
    finally:
        training.close()
        if endpoint is not None:
            ray.get(coordinator.stop_publisher.remote())
        pools.close()
        ray.kill(coordinator)


def _cycles(actors: _Actors) -> PolicyRef:
    """The cycles that are not decided yet; returns the last champion."""
    run = actors.run
    done = len(past_outcomes(run.folder, run.materials.policy, run.recipe.cycles))
    for cycle in range(done + 1, run.recipe.cycles + 1):
        outcome = run_cycle(run, actors.training, cycle, actors.endpoint)
        if outcome.chosen == "champion":
            run.reporter.say(f"cycle {cycle}: the champion stays ({outcome.champion.version})")
        else:
            live = f", live as {outcome.published.version}" if outcome.published else ""
            run.reporter.say(f"cycle {cycle}: {outcome.chosen.upper()} wins: {outcome.champion.version}{live}")
    return run.champion()
