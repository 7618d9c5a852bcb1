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
from actors.remote import RemoteGenerator, RemoteJudge
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
    has_model = config.row.weights is not None
    options = _place(config.engine, config.cpus_per_actor) if has_model else {"num_cpus": config.cpus_per_actor}
    weights = judge or policy if has_model else None
    place = RemoteJudge.options(**options)
    return [place.remote(config, weights, recipe.harmfulness) for _ in range(config.actors)]


def _place(engine: EngineConfig, cpus: float) -> dict[str, Any]:
    return {
        "num_cpus": cpus,
        "num_gpus": engine.tensor_parallel if engine.device == "cuda" else 0,
        "runtime_env": {"env_vars": engine.environment()},
    }
