"""What `salus align` refuses before it starts anything: `salus plan` asks the same, and builds and fetches nothing."""

from __future__ import annotations

from actors.serve.address import check_address
from pipelines.cluster.progress import Reporter
from pipelines.config.recipe import Recipe
from pipelines.data.sets.table import DATA_SETS
from pipelines.feedback.snapshot import check_feedback
from pipelines.judges.evidence import judge_before_run
from pipelines.runs.lengths import check_run_lengths
from pipelines.runs.materials import check_splits, gather_own_judge, gather_policy, probe_prompts, prompt_splits


def check_ready(recipe: Recipe, reporter: Reporter) -> tuple[str, ...]:
    """Check all that can be known of a run before its models are built and its data are fetched.

    Returns:
        What could not be checked, a sentence each.

    Raises:
        SalusError: `salus align` would refuse the recipe.
    """
    judge_before_run(recipe)
    check_feedback(recipe.preference.feedback)
    if recipe.publish.enabled and recipe.cluster.address is None:
        check_address(recipe.publish)
    return (*_check_models(recipe, reporter), *_check_prompts(recipe))


def _check_models(recipe: Recipe, reporter: Reporter) -> tuple[str, ...]:
    policy = gather_policy(recipe, reporter) if recipe.model.source == "folder" else None
    own = recipe.judge.row.weights == "own"
    judge = gather_own_judge(recipe, reporter) if own and recipe.judge.source == "folder" else None
    if policy is not None and (judge is not None or not own):
        check_run_lengths(recipe, policy, judge)
    fetched = (
        ("deployed policy", recipe.model.source == "hub", recipe.model.path),
        ("judge's model", own and recipe.judge.source == "hub", recipe.judge.path),
    )
    return tuple(f"The {who} {path} is checked once it is fetched." for who, later, path in fetched if later)


def _check_prompts(recipe: Recipe) -> tuple[str, ...]:
    row = DATA_SETS.get(recipe.data.source)
    if recipe.data.path is None and row is not None:
        return (f"The prompts of {row.hub_id} are checked once they are fetched.",)
    check_splits(prompt_splits(recipe), recipe.data.source)
    if recipe.data.probe == "xstest":
        probe_prompts(recipe)
    return ()
