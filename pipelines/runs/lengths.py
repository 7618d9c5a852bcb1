"""Whether the models of a run hold as many tokens as its settings ask of their engines."""

from __future__ import annotations

from pathlib import Path

from actors.contract.records import PolicyRef
from actors.errors import SalusError
from actors.serve.config import check_lengths
from pipelines.config.recipe import Recipe


def check_run_lengths(recipe: Recipe, policy: PolicyRef, judge: PolicyRef | None) -> None:
    """Refuse settings that the deployed policy, the judge or the guard cannot hold.

    Args:
        judge: the judge's own weights; None where the policy, a rule or a server judges.

    Raises:
        SalusError: names the setting, the model's folder and both numbers.
    """
    generate, folder = recipe.generate, Path(policy.path)
    length = generate.engine.length(folder, "generate.engine")
    if generate.longest_answer >= length:
        raise SalusError(
            f"generate.sampling.max_tokens leaves no room for a prompt: an answer has up to {generate.longest_answer}"
            f" tokens, and an engine of {folder} has {length} for both; lower it."
        )
    if recipe.judge.row.weights is not None:
        judge_length(recipe, judge or policy)
    if recipe.publish.enabled:
        check_lengths(recipe.publish, folder)


def judge_length(recipe: Recipe, judge: PolicyRef) -> int:
    """Tokens of prompt and label together in the judge's engine.

    Raises:
        SalusError: more are set than the judge holds.
    """
    return recipe.judge.engine.length(Path(judge.path), "judge.engine")
