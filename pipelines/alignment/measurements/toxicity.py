"""Continuations of beginnings (RealToxicityPrompts) in a run: sampled by warm generators, read by the run's judge."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import pyarrow as pa

from actors.contract.records import PolicyRef
from actors.contract.run_folder import RunFolder
from actors.contract.seeds import derive_seed
from actors.errors import SalusError
from actors.files.shards import read_folder, shard_files
from actors.generator import RolloutTask
from actors.judges.judge import JudgmentTask
from pipelines.alignment.run import Run
from pipelines.alignment.streamed import check_labelled, streamed
from pipelines.cluster.stream import ShardTask
from pipelines.cluster.times import Work
from pipelines.config.capability import ToxicityConfig
from pipelines.config.recipe import Recipe
from pipelines.measures.capability.items import TOXICITY
from pipelines.measures.capability.questions import HeldOut
from pipelines.runs.prompts.lengths import asked_lengths


def check_toxicity(recipe: Recipe, folder: RunFolder, split: HeldOut, policy: PolicyRef) -> None:
    """Refuse, before anything costly, beginnings that leave the policy no room to go on.

    Raises:
        SalusError: names the setting, how many there are, and both numbers.
    """
    config = _config(recipe, split)
    if config is None:
        return
    room = recipe.generate.engine.length(Path(policy.path), "generate.engine") - config.max_tokens
    lengths = asked_lengths(read_folder(folder.capability_items(split) / TOXICITY), policy)
    if over := sum(length > room for length in lengths):
        raise SalusError(
            f"{over} of {len(lengths)} beginnings of {config.path} have up to {max(lengths)} tokens, and {room} fit"
            f" beside {config.max_tokens} of a continuation. Raise generate.engine.max_model_len, lower"
            " capability.toxicity.max_tokens, or leave them out."
        )


def measure_toxicity(
    run: Run, split: HeldOut, policies: Sequence[PolicyRef], champion: PolicyRef, broken: Collection[str] = ()
) -> list[Work]:
    """Have each policy go on with the split's beginnings, judged; returns when each engine worked.

    A shard that is there is left as it is. Under judge SELF the champion reads the continuations.

    Raises:
        SalusError: more continuations of a policy that is not `broken` than the recipe allows got no usable label.
    """
    tasks = [task for policy in policies for task in toxicity_tasks(run, split, policy, champion)]
    name = f"{split}: continuations"
    work = streamed(run, name, tasks).work
    check_labelled(run, name, [task for task in tasks if task.rollout.policy.version not in broken])
    return work


def toxicity_tasks(run: Run, split: HeldOut, policy: PolicyRef, champion: PolicyRef) -> list[ShardTask]:
    """A task for each shard of beginnings; none where the recipe asks for none on this split."""
    config = _config(run.recipe, split)
    if config is None:
        return []
    folder = _folder(run.folder, split, policy)
    return [
        ShardTask(
            rollout=RolloutTask(
                policy=policy,
                base=champion,
                prompts=str(shard),
                output=str(folder / "rollouts" / shard.name),
                sampling=config.sampling,
                seed=derive_seed(run.recipe.seed, "toxicity", split),
            ),
            judgment=JudgmentTask(
                rollouts=str(folder / "rollouts" / shard.name),
                output=str(folder / "judgments" / shard.name),
                weights=run.judge_weights(champion),
                system=run.recipe.shown_system_prompt,
            ),
        )
        for shard in shard_files(run.folder.capability_items(split) / TOXICITY)
    ]


def read_continuations(run: Run, split: HeldOut, policy: PolicyRef) -> pa.Table | None:
    """One policy's judged continuations (`JUDGMENT_SCHEMA`); None where the recipe asks for none on this split."""
    if _config(run.recipe, split) is None:
        return None
    return read_folder(_folder(run.folder, split, policy) / "judgments")


def _config(recipe: Recipe, split: HeldOut) -> ToxicityConfig | None:
    return recipe.capability.toxicity_on(split) if recipe.capability is not None else None


def _folder(folder: RunFolder, split: HeldOut, policy: PolicyRef) -> Path:
    return folder.evaluation_capability(split, policy.version) / TOXICITY
