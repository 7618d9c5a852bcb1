"""What `salus align` refuses before it starts anything: `salus plan` asks the same, and builds and fetches nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pyarrow as pa

from actors.contract.records import PolicyRef, Split
from actors.errors import SalusError
from actors.serve.address import check_address
from pipelines.alignment import promise
from pipelines.cluster.progress import Reporter
from pipelines.config.recipe import Recipe
from pipelines.data.sets.table import DATA_SETS
from pipelines.feedback.control.foreseen import decision_lines
from pipelines.feedback.control.second_judge import hold_second_judge
from pipelines.feedback.snapshot import check_feedback
from pipelines.judges.evidence import judge_before_run
from pipelines.registry.stored import StoredRegistry, open_registry
from pipelines.report.tracking.port import check_trackers
from pipelines.runs.materials import gather_own_judge, gather_policy
from pipelines.runs.open import check_places
from pipelines.runs.prompts.lengths import check_run_lengths, token_counts
from pipelines.runs.prompts.sets import check_splits, probe_on_disk, probe_prompts, prompt_splits, used_prompts


def check_ready(recipe: Recipe, reporter: Reporter, folder: Path) -> tuple[str, ...]:
    """Check all that can be known of a run before its models are built and its data are fetched.

    Args:
        recipe: the run's.
        reporter: is told of progress.
        folder: of the run.

    Returns:
        What will be sampled, and what could not be checked, a sentence each.

    Raises:
        SalusError: `salus align` would refuse the recipe, or no policy could win; all faults that were found.
    """
    lines: list[str] = []
    checks: list[Callable[[], object]] = [
        lambda: check_trackers(recipe.tracking),
        lambda: judge_before_run(recipe),
        lambda: hold_second_judge(recipe),
        lambda: promise.check_key(recipe),
        lambda: check_feedback(recipe.preference.feedback),
        lambda: check_places(recipe, folder),
        lambda: _check_address(recipe),
        lambda: _check_registry(recipe),
        lambda: promise.check_proxy(recipe),
        lambda: promise.check_disk(recipe, folder),
        lambda: promise.check_files(recipe),
        lambda: lines.extend(_check_models(recipe, reporter)),
        lambda: lines.extend(check_prompts(recipe, reporter)),
    ]
    promise.refuse(promise.faults_of(checks), f"Recipe {recipe.name}")
    return (*lines, promise.disk_line(recipe, folder))


def check_prompts(
    recipe: Recipe, reporter: Reporter, splits: Mapping[Split, pa.Table] | None = None
) -> tuple[str, ...]:
    """Check the prompts: their files, their splits, their tokens, and what a decision needs of them.

    Args:
        recipe: the run's.
        reporter: is told of progress.
        splits: the prompts, where they are read already; None: those on disk are read, and none are fetched.

    Returns:
        What will be sampled of them, or why they could not be checked, a sentence each.

    Raises:
        SalusError: `salus align` would refuse them, or no policy could win; all faults that were found.
    """
    if splits is None:
        row = DATA_SETS.get(recipe.data.source)
        if recipe.data.path is None and row is not None:
            return (
                f"The prompts of {row.hub_id} are checked once they are fetched.",
                *promise.gate_lines(recipe, None),
                *decision_lines(recipe, None),
            )
        splits = prompt_splits(recipe)
    check_splits(splits, recipe.data.source)
    prompts = used_prompts(recipe, splits)
    if probe_on_disk(recipe):
        prompts["probe"] = probe_prompts(recipe)
    faults = list(promise.unreachable(recipe, prompts))
    counts = None
    policy, room = _room(recipe, reporter)
    if policy is not None:
        shortest = min(room - recipe.generate.longest_answer, recipe.train.max_length_tokens)
        counts = token_counts(Path(policy.path), prompts, shortest)
        faults += promise.too_long(recipe, prompts, counts, room)
        faults += promise.schemes_too_long(recipe, prompts["test"], policy, room)
    promise.refuse(faults, f"The data of recipe {recipe.name}")
    sampled = promise.what_is_sampled(recipe, prompts, counts)
    validation = prompts["validation"]
    gates = promise.gate_lines(recipe, validation, prompts.get("probe"))
    return (*sampled, *gates, *decision_lines(recipe, validation))


def _room(recipe: Recipe, reporter: Reporter) -> tuple[PolicyRef | None, int]:
    """The deployed policy and the tokens of its generator's engine; None where it is not on disk, or is refused."""
    if recipe.model.source == "folder":
        try:
            policy = gather_policy(recipe, reporter)
            return policy, recipe.generate.engine.length(Path(policy.path), "generate.engine")
        except SalusError:
            # Said where models are checked.
            pass
    return None, recipe.generate.engine.longest


def _check_address(recipe: Recipe) -> None:
    if recipe.publish.enabled and recipe.cluster.joined is None:
        check_address(recipe.publish)


def _check_registry(recipe: Recipe) -> None:
    """One in a store is asked whether it is there and lets this account in."""
    where = recipe.publish.registry
    if where is not None and isinstance(store := open_registry(where), StoredRegistry):
        store.prepare()


def _check_models(recipe: Recipe, reporter: Reporter) -> Iterator[str]:
    policy = gather_policy(recipe, reporter) if recipe.model.source == "folder" else None
    own = recipe.judge.row.weights == "own"
    judge = gather_own_judge(recipe, reporter) if own and recipe.judge.source == "folder" else None
    if policy is not None and (judge is not None or not own):
        check_run_lengths(recipe, policy, judge)
    fetched = (
        ("deployed policy", recipe.model.source == "hub", recipe.model.path),
        ("judge's model", own and recipe.judge.source == "hub", recipe.judge.path),
    )
    yield from (f"The {who} {path} is checked once it is fetched." for who, later, path in fetched if later)
