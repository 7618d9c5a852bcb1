"""The one place where plain classes become Ray actors; each engine is built in the process that will use it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import ray

from actors.contract.actor_address import ActorAddress
from actors.contract.records import PolicyRef
from actors.contract.run_folder import RunFolder
from actors.coordinator.coordinator import Coordinator, DecisionRule
from actors.engine.config import EngineConfig
from actors.engine.port import Engine
from actors.engine.vllm import VllmEngine
from actors.generator import Generator
from actors.judges.engine import EngineScorer
from actors.judges.ensemble import EnsembleScorer, How
from actors.judges.guard import GuardScorer
from actors.judges.harmfulness import SCORE_WORDS, HarmfulnessConfig, HarmfulnessRater, RatingJudge
from actors.judges.judge import Scorer
from actors.serve.audit_log import AuditLog
from actors.serve.config import PublisherConfig
from actors.serve.publication_audit import AuditedPublisher, PublicationAudit
from actors.serve.publisher.publisher import Publisher
from actors.serve.replica.published import PolicyOnDisk


class VllmGenerator(Generator):
    """A generator that owns its vLLM engine."""

    def __init__(self, config: EngineConfig, policy: PolicyRef) -> None:
        super().__init__(VllmEngine(config, policy))


class VllmJudge(RatingJudge):
    """A judge that owns its vLLM engine.

    With `when_safe` its model is a guard, and that scorer labels what the guard finds safe. Scorers `beside` it,
    which need no engine, make an ensemble with it. With `harmfulness` its own model also scores that.
    """

    def __init__(
        self,
        config: EngineConfig,
        policy: PolicyRef,
        prompt_version: str,
        min_coverage: float,
        when_safe: Scorer | None = None,
        beside: Sequence[Scorer] = (),
        how: How = "mean",
        harmfulness: HarmfulnessConfig | None = None,
    ) -> None:
        engine = VllmEngine(config, policy)
        scorer = (
            EngineScorer(engine, prompt_version, policy)
            if when_safe is None
            else GuardScorer(engine, prompt_version, policy, when_safe)
        )
        rater = _engine_rater(engine, policy, harmfulness) if harmfulness is not None else None
        super().__init__(_together(scorer, beside, how), min_coverage, rater)


class EnginelessJudge(RatingJudge):
    """A judge that needs no engine here: a rule, or a model behind a server."""

    def __init__(
        self,
        scorer: Scorer,
        min_coverage: float,
        beside: Sequence[Scorer] = (),
        how: How = "mean",
        rater: HarmfulnessRater | None = None,
    ) -> None:
        super().__init__(_together(scorer, beside, how), min_coverage, rater)


class PublishingCoordinator(Coordinator):
    """A coordinator with an endpoint of its own, or none where `publish` is None."""

    def __init__(
        self,
        root: str,
        base: PolicyRef,
        seed: int,
        reference: Literal["champion", "base"],
        rule: DecisionRule,
        judge: str | None,
        publish: PublisherConfig | None,
        address: ActorAddress,
    ) -> None:
        desk = PolicyOnDisk(address, RunFolder(Path(root)).published)
        audit = PublicationAudit(AuditLog(RunFolder(Path(root)).audit))
        publisher = AuditedPublisher(Publisher(publish, desk), audit, publish.url) if publish is not None else None
        # The namespace is of one session of the run, and no other.
        super().__init__(root, base, seed, reference, rule, judge, address.namespace, publisher, desk.published)


# Ray finds a node dead after twenty seconds or more, and until then every try to reach an actor there counts. It waits
# from 0.1 s, doubled each time, to 5 s between two: 56 s in all.
TRIES = 16
# A killed actor is built anew and its task retried: every task names its policy and may be repeated. A long run on
# machines that come and go loses many; what ends it is one task that fails time and again.
RemoteGenerator = ray.remote(max_restarts=-1, max_task_retries=TRIES)(VllmGenerator)
RemoteJudge = ray.remote(max_restarts=-1, max_task_retries=TRIES)(VllmJudge)
RemoteEnginelessJudge = ray.remote(max_restarts=-1, max_task_retries=TRIES)(EnginelessJudge)
# The coordinator keeps what it knows on disk, so it may die as often as it likes.
RemoteCoordinator = ray.remote(max_restarts=-1, max_task_retries=-1)(PublishingCoordinator)


def _together(scorer: Scorer, beside: Sequence[Scorer], how: How) -> Scorer:
    return EnsembleScorer([scorer, *beside], how) if beside else scorer


def _engine_rater(engine: Engine, policy: PolicyRef, config: HarmfulnessConfig) -> HarmfulnessRater:
    return HarmfulnessRater(EngineScorer(engine, config.prompt, policy, SCORE_WORDS), config.min_coverage)
