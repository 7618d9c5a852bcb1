"""The steps of a cycle one at a time, each from the files the step before left in the run folder."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import ray

from actors.contract.records import TrainReport
from actors.contract.run_folder import SFT, SFT_CYCLE, RunFolder
from actors.contract.run_names import read_report
from actors.contract.session_logs import kept_logs
from actors.coordinator.coordinator import CycleOutcome
from actors.errors import SalusError
from actors.files.shards import shard_files
from pipelines.alignment.capability import prepare_capability
from pipelines.alignment.cycle import preference, train
from pipelines.alignment.evaluation import evaluate, trained
from pipelines.alignment.finish import final_rollouts, fine_tuning_report
from pipelines.alignment.measurements.harmfulness import check_rater
from pipelines.alignment.measurements.published import measure_published
from pipelines.alignment.rows.demonstrations import write_demonstrations
from pipelines.alignment.rows.egida_pairs import write_pairs
from pipelines.alignment.run import Run, start_coordinator
from pipelines.alignment.streamed import run_stream
from pipelines.alignment.training.fine_tune import fine_tune
from pipelines.alignment.training.merge import merge
from pipelines.alignment.training.runs import TrainingRuns
from pipelines.cluster.demand import Part
from pipelines.cluster.nodes import node_check
from pipelines.cluster.plan import settled, staged_plan
from pipelines.cluster.progress import Reporter
from pipelines.cluster.session import session
from pipelines.cluster.stream import ShardTask
from pipelines.cluster.turns.division import alone
from pipelines.cluster.turns.pools import open_pools
from pipelines.cluster.turns.stages import fine_tuning_stages, step_stages
from pipelines.config.recipe import Recipe
from pipelines.feedback.control.second_judge import hold_second_judge
from pipelines.feedback.snapshot import check_feedback
from pipelines.judges.evidence import judge_before_run, judge_in_run, record_trust
from pipelines.report.decision_page.from_run import write_pages
from pipelines.report.tracking.follow import tracked
from pipelines.report.tracking.port import check_trackers
from pipelines.runs.models import at_hand, models_of_run
from pipelines.runs.open import hold_run
from pipelines.runs.outcomes import champion_before, past_outcomes
from pipelines.runs.prompts.sets import write_prompts
from pipelines.runs.store.place import Place
from pipelines.runs.summary import FineTuned

# What each step starts.
SAMPLES: tuple[Part, ...] = ("generate",)
JUDGES: tuple[Part, ...] = ("judge",)
TRAINS: tuple[Part, ...] = ("train",)
MEASURES: tuple[Part, ...] = ("generate", "judge")


def sft_step(recipe: Recipe, root: Place, reporter: Reporter) -> FineTuned:
    """Fine-tune the deployed policy alone, and measure both on the test split; `salus align` goes on from there.

    Raises:
        SalusError: the recipe has no section `sft`, or the judge may not select policies.
    """
    if recipe.sft is None:
        raise SalusError(
            f"Recipe {recipe.name} fine-tunes nothing; give it a section sft, or --set sft.path=CONVERSATIONS.jsonl."
        )
    trust = judge_before_run(recipe)
    with _opened(recipe, root, reporter, 1, MEASURES, fine_tunes=True) as run:
        record_trust(run.folder, trust, reporter)
        final_rollouts(run, run.champion())
        return fine_tuning_report(run, run.champion())


def generate_step(recipe: Recipe, root: Place, reporter: Reporter, cycle: int) -> Path:
    """Sample the cycle's answers; returns the folder of rollouts.

    Raises:
        SalusError: the recipe makes no rows of them.
    """
    _check_judged(recipe)
    with _opened(recipe, root, reporter, cycle, SAMPLES) as run:
        run_stream(run, f"cycle {cycle}", run.train_tasks(cycle, run.champion()))
        return run.folder.rollouts(cycle)


def judge_step(recipe: Recipe, root: Place, reporter: Reporter, cycle: int) -> Path:
    """Judge the cycle's rollouts; returns the folder of judgments.

    Raises:
        SalusError: the recipe makes no rows of them.
    """
    _check_judged(recipe)
    with _opened(recipe, root, reporter, cycle, JUDGES, _judge_needs) as run:
        run_stream(run, f"cycle {cycle}", _generated(run.train_tasks(cycle, run.champion())))
        return run.folder.judgments(cycle)


def train_step(recipe: Recipe, root: Place, reporter: Reporter, cycle: int) -> list[TrainReport]:
    """Shuffle the cycle's judgments into rows and train the challengers on them."""
    recipe = recipe.model_copy(update={"train": recipe.train.model_copy(update={"resident": False})})
    needs = _train_needs if recipe.preference.judged else _nothing
    with _opened(recipe, root, reporter, cycle, TRAINS, needs) as run:
        recipe = run.recipe
        preference(run, cycle)
        storage = str(run.folder.train_storage)
        namespace = ray.get_runtime_context().namespace
        local = at_hand(recipe, run.materials)
        runs = TrainingRuns(local, run.coordinator, namespace, uuid.uuid4().hex[:8], storage)
        try:
            train(run, runs, cycle)
            merge(run, cycle, run.champion())
        finally:
            runs.close()
        return [report for name in recipe.contestants if (report := read_report(run.folder, cycle, name))]


def evaluate_step(recipe: Recipe, root: Place, reporter: Reporter, cycle: int) -> CycleOutcome:
    """Measure champion and challengers on the validation split and decide, without publishing.

    Raises:
        SalusError: the judge may not select policies, or there is nothing to decide on.
    """
    trust = judge_before_run(recipe)
    hold_second_judge(recipe)
    with _opened(recipe, root, reporter, cycle, MEASURES) as run:
        if not trained(run, cycle):
            raise SalusError(f"Cycle {cycle} of {root} has no trained challenger; run salus train first.")
        record_trust(run.folder, trust, reporter)
        judge_in_run(recipe, run.folder, reporter)
        evaluate(run, cycle, run.champion())
        run.check_lease()
        known = past_outcomes(run.folder, run.materials.policy, recipe.cycles)
        if len(known) >= cycle:
            write_pages(run.folder, recipe, cycle)
            return known[cycle - 1]
        ray.get(run.coordinator.adopt.remote(cycle))
        outcome: CycleOutcome = ray.get(run.coordinator.decide.remote(cycle))
        measure_published(run)
        write_pages(run.folder, recipe, cycle)
        return outcome


def _nothing(folder: RunFolder, cycle: int) -> None:
    """No file of an earlier step is needed."""


def _check_judged(recipe: Recipe) -> None:
    if not recipe.preference.judged:
        raise SalusError(
            f"Recipe {recipe.name} learns from preference.egida_pairs alone (preference.judged false), so that no"
            " answers are sampled or judged to train on; go on with salus train."
        )


@contextlib.contextmanager
def _opened(
    recipe: Recipe,
    root: Place,
    reporter: Reporter,
    cycle: int,
    starts: Collection[Part],
    needs: Callable[[RunFolder, int], None] = _nothing,
    fine_tunes: bool = False,
) -> Iterator[Run]:
    """The run with just the actors that a step `starts`; its champion is the one the cycle starts from.

    `needs` raises SalusError where files of an earlier step are missing; asked before anything is set up in a folder.
    With `fine_tunes` the deployed policy is fine-tuned first; without, the recipe's fine-tuning must be done.
    """
    check_trackers(recipe.tracking)
    check_feedback(recipe.preference.feedback)
    recipe = alone(settled(recipe))
    if isinstance(root, Path):
        needs(RunFolder(root), cycle)
    with hold_run(recipe, root, reporter) as (folder, hold), tracked(recipe, folder, reporter.say):
        needs(folder, cycle)
        materials = models_of_run(recipe, folder, reporter, hold.check)
        hold.check()
        write_prompts(recipe, folder)
        write_pairs(recipe.preference.egida_pairs, folder, recipe.data.held_out)
        write_demonstrations(recipe, folder)
        prepare_capability(recipe, folder, materials.policy)
        check_rater(recipe, materials)
        if recipe.sft is not None and not fine_tunes and read_report(folder, SFT_CYCLE, SFT) is None:
            raise SalusError("The first cycle begins with what fine-tuning makes of the policy; run salus sft first.")
        namespace = f"salus-{folder.root.name}-{uuid.uuid4().hex[:8]}"
        local = at_hand(recipe, materials)
        stages = (*(fine_tuning_stages(local) if fine_tunes else ()), *step_stages(local, starts))
        with session(local, namespace, staged_plan(local, stages)), kept_logs(folder):
            node_check(recipe.cluster, folder.root, materials.folders)()
            if fine_tunes:
                fine_tune(recipe, folder, materials, reporter, hold.check)
            champion = champion_before(folder, materials.policy, cycle)
            coordinator: Any = start_coordinator(recipe, folder, materials, namespace, cycle - 1, publish=False)
            pools = open_pools(recipe, champion, materials.judge, starts)
            try:
                pools.wait(recipe.cluster.wait_s)
                yield Run(recipe, folder, materials, pools, coordinator, reporter, hold.check, hold.store)
            finally:
                pools.close()
                ray.kill(coordinator)


def _judge_needs(folder: RunFolder, cycle: int) -> None:
    _require(folder.rollouts(cycle), "generate", cycle)


def _train_needs(folder: RunFolder, cycle: int) -> None:
    _require(folder.judgments(cycle), "judge", cycle)


def _generated(tasks: list[ShardTask]) -> list[ShardTask]:
    missing = [task.rollout.output for task in tasks if not Path(task.rollout.output).is_file()]
    if missing:
        raise SalusError(
            f"The rollouts {missing[0]} are missing; run salus generate again, it goes on where it stopped."
        )
    return tasks


def _require(folder: Path, step: str, cycle: int) -> None:
    try:
        shard_files(folder)
    except SalusError:
        raise SalusError(f"Cycle {cycle} has nothing in {folder}; run salus {step} for it first.") from None
