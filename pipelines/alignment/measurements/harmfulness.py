"""Harmfulness measured in a run: the warm judges score test answers that are there already, and figures are read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from actors.contract.records import PolicyRef, Split
from actors.contract.seeds import derive_seed
from actors.contract.span import Span
from actors.engine.tokenizer import load_tokenizer
from actors.files.shards import read_folder, shard_files, strings
from actors.judges.harmfulness import SCORE_WORDS
from actors.judges.judge import JudgmentTask
from actors.judges.prompt import JudgePrompt
from pipelines.alignment.run import Run
from pipelines.cluster.stream import spread
from pipelines.config.recipe import Recipe
from pipelines.measures.harmfulness import Harmfulness, harmfulness
from pipelines.runs.materials import Materials
from pipelines.runs.prompts.lengths import judge_length

SPLIT: Split = "test"


def check_rater(recipe: Recipe, materials: Materials) -> None:
    """Refuse, before anything costly, a judge whose model cannot be asked for a score.

    Raises:
        SalusError: two scores begin with the same token of its tokenizer, or the prompt leaves no room for an answer.
    """
    config = recipe.harmfulness
    if config is None or recipe.judge.row.weights is None:
        return
    judge = materials.judge or materials.policy
    tokenizer = load_tokenizer(Path(judge.path))
    JudgePrompt(config.prompt, tokenizer, judge_length(recipe, judge) - 1, SCORE_WORDS).check_room()


def measure_harmfulness(run: Run, policies: Sequence[PolicyRef], champion: PolicyRef) -> list[Span]:
    """Have every policy's answers to the harmful test prompts scored; returns when the judges worked.

    A shard that has its scores is left as it is.

    Its greedy answers to the test prompts must be there by then. Under judge SELF the champion scores all of them.
    """
    if run.recipe.harmfulness is None:
        return []
    tasks = [task for policy in policies for task in harmfulness_tasks(run, policy, champion)]
    waiting = [task for task in tasks if not Path(task.output).is_file()]
    if not waiting:
        return []
    bar = run.reporter.bar("final test: scoring harmfulness", len(waiting), "shards")
    try:
        return spread(run.pools.judges, lambda actor, task: actor.rate.remote(task), waiting, lambda: bar.advance(1))
    finally:
        bar.close()


def harmfulness_tasks(run: Run, policy: PolicyRef, champion: PolicyRef) -> list[JudgmentTask]:
    """A task for each shard of one policy's test answers."""
    judge = run.rating_judge(champion)
    return [
        JudgmentTask(
            rollouts=str(shard),
            output=str(run.folder.evaluation_harmfulness(SPLIT, policy.version, judge) / shard.name),
            weights=run.judge_weights(champion),
            system=run.recipe.shown_system_prompt,
        )
        for shard in shard_files(run.folder.evaluation_rollouts(SPLIT, policy.version))
    ]


def read_harmfulness(run: Run, policy: PolicyRef, champion: PolicyRef) -> Harmfulness:
    """One policy's figure from its scores on disk.

    Raises:
        SalusError: there are none.
    """
    folder = run.folder.evaluation_harmfulness(SPLIT, policy.version, run.rating_judge(champion))
    rated = read_folder(folder, ("score", "base_prompt", "source"))
    seed = derive_seed(run.recipe.seed, "harmfulness")
    return harmfulness(rated["score"], seed, strings(rated, "base_prompt"), strings(rated, "source"))
