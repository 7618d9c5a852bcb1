"""The one place where plain classes become Ray actors; each engine is built in the process that will use it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import ray

from actors.contract.actor_address import ActorAddress, near_gpus
from actors.contract.records import ChallengerName, PolicyRef
from actors.contract.run_folder import RunFolder
from actors.coordinator.coordinator import Coordinator, DecisionRule
from actors.engine.config import EngineConfig
from actors.engine.vllm import VllmEngine, close_engines, rest_engines
from actors.generator import Generator
from actors.judges.ensemble import EnsembleScorer
from actors.judges.harmfulness import HarmfulnessConfig, RatingJudge, rater_of
from actors.judges.regimens import JudgeSettings, scorers
from actors.merged import NodeWeights, is_unmerged, keep_merged
from actors.serve.audit_log import AuditLog
from actors.serve.config import PublisherConfig
from actors.serve.publication_audit import AuditedPublisher, PublicationAudit
from actors.serve.publisher.publisher import Publisher
from actors.serve.replica.published import PolicyOnDisk
from actors.training.algorithms.table import Algorithm
from actors.training.resident.shared import RayTrainDispatcher


class EngineHolder:
    """An actor that holds engines, which leave their devices to others between their turns."""

    def rest(self) -> bool:
        """Have its engines sleep; False, and nothing is done, where one cannot."""
        return rest_engines()

    def leave(self) -> None:
        """Close its engines; the actor is of no use afterwards."""
        close_engines()


class VllmGenerator(EngineHolder, Generator):
    """A generator that owns its vLLM engine, and merges challengers on its node."""

    def __init__(self, config: EngineConfig, policy: PolicyRef) -> None:
        self._weights = NodeWeights()
        super().__init__(VllmEngine(config, policy), self._weights.of)

    def forget(self) -> None:
        """Remove the challengers' weights that were merged here; every cycle is over."""
        self._weights.forget()


class RecipeJudge(EngineHolder, RatingJudge):
    """The judge of a recipe: its regimen's scorer, and those beside it, which make an ensemble with it.

    With `harmfulness` the regimen's own model also scores that.

    Raises:
        SalusError: as the scorers of the regimens do.
    """

    def __init__(
        self, settings: JudgeSettings, weights: PolicyRef | None, harmfulness: HarmfulnessConfig | None = None
    ) -> None:
        each = scorers(settings, weights)
        together = EnsembleScorer(each, settings.how) if len(each) > 1 else each[0]
        super().__init__(together, settings.min_coverage, rater_of(each[0], harmfulness))


class PublishingCoordinator(Coordinator):
    """A coordinator with an endpoint of its own, or none where `publish` is None."""

    def __init__(
        self,
        root: str,
        base: PolicyRef,
        seed: int,
        reference: Literal["champion", "base"],
        challengers: Mapping[ChallengerName, Algorithm],
        rule: DecisionRule,
        judge: str | None,
        publish: PublisherConfig | None,
        address: ActorAddress,
        first: PolicyRef | None = None,
        merges: bool = False,
    ) -> None:
        on_disk = PolicyOnDisk(address, RunFolder(Path(root)).published)
        audit = PublicationAudit(AuditLog(RunFolder(Path(root)).audit))
        publisher = AuditedPublisher(Publisher(publish, on_disk), audit, publish.url) if publish is not None else None
        # The namespace is of one session of the run, and no other.
        super().__init__(
            root=root,
            base=base,
            seed=seed,
            reference=reference,
            challengers=challengers,
            rule=rule,
            judge=judge,
            session=address.namespace,
            publisher=publisher,
            published=on_disk.published,
            keep_whole=_keep_whole,
            first=first,
            merges=merges,
        )


def _keep_whole(winner: PolicyRef, champion: PolicyRef) -> None:
    """Write a winner's whole weights in a process of its own, whose memory ends with it."""
    if is_unmerged(winner):
        ray.get(RemoteKeep.options(scheduling_strategy=near_gpus()).remote(winner, champion))


# Ray finds a node dead after twenty seconds or more, and until then every try to reach an actor there counts. It waits
# from 0.1 s, doubled each time, to 5 s between two: 56 s in all.
TRIES = 16
# A killed actor is built anew and its task retried: every task names its policy and may be repeated. A long run on
# machines that come and go loses many; what ends it is one task that fails time and again.
RemoteKeep = ray.remote(num_cpus=0, max_retries=TRIES)(keep_merged)
RemoteGenerator = ray.remote(max_restarts=-1, max_task_retries=TRIES)(VllmGenerator)
RemoteJudge = ray.remote(max_restarts=-1, max_task_retries=TRIES)(RecipeJudge)
# What it hands out is with the coordinators, and a run of trainers that ends is started anew by it.
RemoteTrainingDispatcher = ray.remote(num_cpus=0)(RayTrainDispatcher)
# The coordinator keeps what it knows on disk, so it may die as often as it likes.
RemoteCoordinator = ray.remote(max_restarts=-1, max_task_retries=-1)(PublishingCoordinator)
