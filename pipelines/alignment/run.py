"""One run in the driver's hands: its folder, its actors, and the tasks each step hands them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import ray

from actors.contract.actor_address import ActorAddress, beside_me
from actors.contract.records import PolicyRef, PromptSet
from actors.contract.run_folder import RunFolder
from actors.contract.seeds import derive_seed
from actors.files.shards import shard_files
from actors.generator import RolloutTask
from actors.judges.judge import JudgmentTask
from actors.remote import RemoteCoordinator
from pipelines.cluster.pools import EnginePools
from pipelines.cluster.progress import Reporter
from pipelines.cluster.stream import ShardTask
from pipelines.cluster.turns.cost import GpuShares
from pipelines.config.recipe import Recipe
from pipelines.decision.of_run import DecisionOfRun
from pipelines.report.metrics.run import RunMetrics
from pipelines.runs.materials import Materials
from pipelines.runs.outcomes import first_champion, past_outcomes
from pipelines.runs.store.uploads import Uploads

COORDINATOR = "coordinator"


@dataclass(frozen=True)
class Run:
    """What every step of a cycle needs."""

    recipe: Recipe
    folder: RunFolder
    materials: Materials
    pools: EnginePools
    coordinator: Any
    reporter: Reporter
    # Raises SalusError once the folder is another process's (`pipelines.runs.lease`), or where the endpoint could not
    # start; asked wherever a step waits.
    check_lease: Callable[[], None] = lambda: None
    # Where the run is kept, if not in its folder.
    store: Uploads | None = None
    # What its workers use, for its metrics.
    gpus: GpuShares = field(default_factory=GpuShares)

    @cached_property
    def metrics(self) -> RunMetrics:
        """Where the run tells Ray's metrics how far it is, under its folder's name."""
        return RunMetrics(self.folder.root.name, self.gpus)

    def note(self) -> None:
        """Tell the store, where there is one, that every file there is by now is whole."""
        if self.store is not None:
            self.store.note()

    def champion(self) -> PolicyRef:
        champion: PolicyRef = ray.get(self.coordinator.champion.remote())
        return champion

    def judge_name(self, champion: PolicyRef) -> str:
        """Whose judgments count in a cycle: the judge's, or the champion's own (SELF)."""
        return fixed_judge(self.recipe, self.materials) or champion.version

    def rating_judge(self, champion: PolicyRef) -> str:
        """Whose scores of harmfulness count: those of the judge that is asked first, or the champion's own (SELF)."""
        judge = self.recipe.judge
        return judge.name(_own_name(self.materials), (judge.regimen,)) or champion.version

    def judge_weights(self, champion: PolicyRef) -> PolicyRef | None:
        """Whose weights judge, where they are not the judge's own."""
        return champion if self.recipe.judge.row.champion_judges else None

    def train_tasks(self, cycle: int, champion: PolicyRef) -> list[ShardTask]:
        """The cycle's share of the train split, k sampled answers a prompt.

        Shards follow each other through the split; after the last the first comes again, with new draws. There are none
        where no row is made of judgments.
        """
        if not self.recipe.preference.judged:
            return []
        # What succeeded against the champion of the cycle before is asked again.
        attacks = sorted((self.folder.red_team(cycle - 1) / "prompts").glob("*.parquet"))
        chosen = [*self.train_shards(cycle), *attacks]
        seed = derive_seed(self.recipe.seed, "rollout", cycle)
        return [
            self.task(
                champion,
                champion,
                shard,
                self.folder.rollouts(cycle),
                self.folder.judgments(cycle),
                seed,
                greedy=False,
            )
            for shard in chosen
        ]

    def train_shards(self, cycle: int) -> list[Path]:
        """The files of the train split that a cycle answers."""
        shards = shard_files(self.folder.prompts("train"))
        count = self.recipe.data.shards_per_cycle
        return [shards[i % len(shards)] for i in range((cycle - 1) * count, cycle * count)][: len(shards)]

    def evaluation_tasks(self, split: PromptSet, policy: PolicyRef, champion: PolicyRef) -> list[ShardTask]:
        """One greedy answer per prompt of a split."""
        judge = self.judge_name(champion)
        return [
            self.task(
                policy,
                champion,
                shard,
                self.folder.evaluation_rollouts(split, policy.version),
                self.folder.evaluation_judgments(split, policy.version, judge),
                seed=0,
                greedy=True,
            )
            for shard in shard_files(self.folder.prompts(split))
        ]

    def task(
        self,
        policy: PolicyRef,
        champion: PolicyRef,
        shard: Path,
        rollouts: Path,
        judgments: Path,
        seed: int,
        greedy: bool,
    ) -> ShardTask:
        """One shard of prompts, answered by `policy` and judged as under this champion."""
        output = str(rollouts / shard.name)
        generate = self.recipe.generate
        return ShardTask(
            rollout=RolloutTask(
                policy=policy,
                base=champion,
                prompts=str(shard),
                output=output,
                sampling=generate.greedy() if greedy else generate.sampling,
                seed=seed,
            ),
            judgment=JudgmentTask(
                rollouts=output,
                output=str(judgments / shard.name),
                weights=self.judge_weights(champion),
                system=self.recipe.shown_system_prompt,
            ),
        )


def fixed_judge(recipe: Recipe, materials: Materials) -> str | None:
    """The judge's name where it stays the same over the run; None where the champion judges (SELF)."""
    return recipe.judge.name(_own_name(materials))


def _own_name(materials: Materials) -> str | None:
    return materials.judge.version if materials.judge is not None else None


def decision_rule(recipe: Recipe, folder: RunFolder, materials: Materials) -> DecisionOfRun:
    """The rule by which the run's coordinator decides."""
    return DecisionOfRun(
        table=recipe.scores,
        config=recipe.decide,
        seed=derive_seed(recipe.seed, "decide"),
        capability=recipe.capability,
        root=str(folder.root),
        base=materials.policy.version,
        cycles=recipe.cycles,
        judge=fixed_judge(recipe, materials),
        probe=recipe.data.probe,
        approval=recipe.publish.approval == "required",
    )


def start_coordinator(
    recipe: Recipe, folder: RunFolder, materials: Materials, namespace: str, cycles: int, publish: bool
) -> Any:
    """The run's coordinator actor, named in the run's own namespace, with the decisions of the first `cycles`."""
    coordinator: Any = RemoteCoordinator.options(
        name=COORDINATOR,
        namespace=namespace,
        num_cpus=0,
        scheduling_strategy=beside_me(),
        # Threads let trainers ask for work while a publication is under way.
        max_concurrency=32,
    ).remote(
        root=str(folder.root),
        base=materials.policy,
        seed=recipe.seed,
        reference=recipe.train.reference,
        challengers=recipe.train.algorithms,
        rule=decision_rule(recipe, folder, materials),
        judge=fixed_judge(recipe, materials),
        publish=recipe.publish if publish and recipe.publish.enabled else None,
        address=ActorAddress(actor=COORDINATOR, namespace=namespace),
        first=first_champion(folder, materials.policy),
        merges=recipe.merge is not None,
    )
    for outcome in past_outcomes(folder, materials.policy, cycles):
        ray.get(coordinator.recall.remote(outcome))
    return coordinator
