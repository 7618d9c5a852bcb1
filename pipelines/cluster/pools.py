"""The pools: long-lived generator and judge actors, spawned once and kept warm for the whole run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayActorError

from actors.contract.records import PolicyRef
from actors.engine.config import EngineConfig
from actors.errors import SalusError, reason
from actors.judges.ensemble import How
from actors.judges.harmfulness import SCORE_WORDS, HarmfulnessRater
from actors.judges.judge import Scorer
from actors.judges.remote_config import RemoteConfig
from actors.judges.rules import RULES_JUDGE, RuleScorer, refusal_label
from actors.remote import RemoteEnginelessJudge, RemoteGenerator, RemoteJudge
from pipelines.config.judge import JudgeConfig
from pipelines.config.recipe import Recipe


@dataclass(frozen=True)
class Pools:
    """Handles of both pools; closing them frees their engines."""

    generators: Sequence[Any]
    judges: Sequence[Any]

    def wait(self, timeout_s: float) -> None:
        """Return when every engine is up.

        Raises:
            SalusError: an engine could not start, or not in time.
        """
        pending = [actor.ready.remote() for actor in (*self.generators, *self.judges)]
        ready, waiting = ray.wait(pending, num_returns=len(pending), timeout=timeout_s)
        try:
            ray.get(ready)
        except RayActorError as error:
            # One that dies later is put back, by Ray.
            if not error.actor_init_failed:
                raise
            raise SalusError(f"An engine could not start: {reason(error)}") from error
        if waiting:
            raise SalusError(
                f"{len(waiting)} of {len(pending)} engines were not up after {timeout_s:.0f} s; free CPUs or GPUs of"
                " the cluster, or raise cluster.wait_s."
            )

    def close(self) -> None:
        for actor in (*self.generators, *self.judges):
            ray.kill(actor)


def spawn(recipe: Recipe, policy: PolicyRef, judge: PolicyRef | None, generate: bool, label: bool) -> Pools:
    """Start the pools a step needs; engines come up in the background."""
    return Pools(
        generators=_generators(recipe, policy) if generate else (),
        judges=_judges(recipe, policy, judge) if label else (),
    )


def _generators(recipe: Recipe, policy: PolicyRef) -> list[Any]:
    config = recipe.generate
    place = RemoteGenerator.options(**_place(config.engine, config.cpus_per_actor))
    return [place.remote(config.engine, policy) for _ in range(config.actors)]


def _judges(recipe: Recipe, policy: PolicyRef, judge: PolicyRef | None) -> list[Any]:
    config = recipe.judge
    first, *others = config.voices
    beside = [_engineless(config, voice) for voice in others]
    how: How = config.ensemble.how if config.ensemble is not None else "mean"
    count = range(config.actors)
    if not config.has_engine:
        free = RemoteEnginelessJudge.options(num_cpus=config.cpus_per_actor)
        rater = _remote_rater(recipe)
        return [free.remote(_engineless(config, first), config.min_coverage, beside, how, rater) for _ in count]
    when_safe = _engineless(config, "RULES") if config.regimen == "GUARD" else None
    own = (config.engine, judge or policy, config.prompt, config.min_coverage)
    model = (*own, when_safe, beside, how, recipe.harmfulness)
    place = RemoteJudge.options(**_place(config.engine, config.cpus_per_actor))
    return [place.remote(*model) for _ in count]


def _engineless(config: JudgeConfig, voice: str) -> Scorer:
    if voice == "RULES":
        return RuleScorer(RULES_JUDGE, refusal_label)
    # Its client takes a second to import.
    from actors.judges.remote import RemoteScorer

    assert voice == "REMOTE"
    return RemoteScorer(_actors_share(config), config.remote_prompt)


def _remote_rater(recipe: Recipe) -> HarmfulnessRater | None:
    """The server, asked for scores, never while its actor asks it for labels; None where nobody wants them."""
    wanted = recipe.harmfulness
    if wanted is None:
        return None
    from actors.judges.remote import RemoteScorer
    from actors.judges.remote_reply import spellings

    scorer = RemoteScorer(_actors_share(recipe.judge), wanted.prompt, spellings(SCORE_WORDS))
    return HarmfulnessRater(scorer, wanted.min_coverage)


def _actors_share(config: JudgeConfig) -> RemoteConfig:
    """The server's settings for one actor: the limit is the account's, and each keeps its share of it."""
    remote = config.remote
    assert remote is not None
    if remote.requests_per_minute is None:
        return remote
    return remote.model_copy(update={"requests_per_minute": remote.requests_per_minute / config.actors})


def _place(engine: EngineConfig, cpus: float) -> dict[str, Any]:
    return {
        "num_cpus": cpus,
        "num_gpus": engine.tensor_parallel if engine.device == "cuda" else 0,
        "runtime_env": {"env_vars": engine.environment()},
    }
