"""The pools: long-lived generator and judge actors, spawned once and kept warm for the whole run."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import ray
from ray.exceptions import RayActorError

from actors.contract.growth import boot_s
from actors.contract.records import PolicyRef
from actors.engine.config import EngineConfig
from actors.engine.vllm import SLEEPS
from actors.errors import SalusError, reason
from actors.remote import RemoteGenerator, RemoteJudge
from pipelines.cluster.turns.division import ENGINE_SHARE, slept
from pipelines.config.recipe import Recipe

# Until an actor that died is asked again.
_AGAIN_S = 0.5
# How long engines have to give back their devices.
_LEAVE_S = 60.0


class EnginePools(Protocol):
    """Both pools as the steps of a run use them: up all the time, or when they have their turn."""

    @property
    def generators(self) -> Sequence[Any]:
        """The generators, up by now or soon; none where the step starts none."""

    @property
    def judges(self) -> Sequence[Any]:
        """The same of judges."""

    @property
    def labels(self) -> bool:
        """Whether there are judges, up or not."""

    @property
    def stay_up(self) -> bool:
        """Whether they are up while trainers train."""

    def passes(self) -> Iterator[tuple[Sequence[Any], Sequence[Any]]]:
        """Generators and judges as they are up at once: both, or first the ones and then the others."""

    def rest(self) -> None:
        """Others have their turn, before the pools are asked again."""

    def leave(self) -> None:
        """End all engines; returns when their devices are free for others."""

    def wait(self, timeout_s: float) -> None:
        """Return when every engine that is to be up is; raises SalusError as `Pools.wait`."""

    def close(self) -> None:
        """End all engines at once, whatever they are doing."""


@dataclass(frozen=True)
class Pools:
    """Handles of both pools; closing them frees their engines."""

    generators: Sequence[Any]
    judges: Sequence[Any]

    @property
    def labels(self) -> bool:
        return bool(self.judges)

    @property
    def stay_up(self) -> bool:
        return True

    def passes(self) -> Iterator[tuple[Sequence[Any], Sequence[Any]]]:
        yield self.generators, self.judges

    def rest(self) -> None:
        """Nothing: each actor has a place of its own."""

    def wait(self, timeout_s: float) -> None:
        """Return when every engine is up; nodes that are still to come get their time on top of `timeout_s`.

        Raises:
            SalusError: an engine could not start, or not in time.
        """
        actors = (*self.generators, *self.judges)
        timeout_s += boot_s()
        until_s = time.monotonic() + timeout_s
        pending = {_asked(actor): actor for actor in actors}
        while pending:
            done, _ = ray.wait(list(pending), timeout=max(0.0, until_s - time.monotonic()))
            if not done:
                raise SalusError(
                    f"{len(pending)} of {len(actors)} engines were not up after {timeout_s:.0f} s; free CPUs or GPUs of"
                    " the cluster, or raise cluster.wait_s."
                )
            actor = pending.pop(done[0])
            try:
                ray.get(done[0])
            except RayActorError as error:
                if error.actor_init_failed:
                    raise SalusError(f"An engine could not start: {reason(error)}") from error
                # One that died otherwise is put back, by Ray.
                time.sleep(_AGAIN_S)
                pending[_asked(actor)] = actor

    def sleep(self) -> bool:
        """Have every engine sleep; False where one cannot, or does not answer: close them then."""
        try:
            return all(ray.get([actor.rest.remote() for actor in (*self.generators, *self.judges)], timeout=_LEAVE_S))
        except ray.exceptions.RayError:
            return False

    def leave(self) -> None:
        """End every engine, and return when none holds its device any more, so that others find room there."""
        asked = [actor.leave.remote() for actor in (*self.generators, *self.judges)]
        if asked:
            # Whatever becomes of it, the actor is ended next.
            ray.wait(asked, num_returns=len(asked), timeout=_LEAVE_S)
        self.close()

    def close(self) -> None:
        for actor in (*self.generators, *self.judges):
            ray.kill(actor)


def _asked(actor: Any) -> Any:
    """Whether an actor's engine is up, asked once: Ray prints each retry, whole traceback and all."""
    return actor.ready.options(max_task_retries=0).remote()


def spawn(recipe: Recipe, policy: PolicyRef, judge: PolicyRef | None, generate: bool, label: bool) -> Pools:
    """Start the pools a step needs; engines come up in the background."""
    return Pools(
        generators=_generators(recipe, policy) if generate else (),
        judges=_judges(recipe, policy, judge) if label else (),
    )


def _generators(recipe: Recipe, policy: PolicyRef) -> list[Any]:
    config = recipe.generate
    engine, share = _as_placed(recipe, config.engine)
    place = RemoteGenerator.options(**_place(engine, config.cpus_per_actor, share))
    return [place.remote(engine, policy) for _ in range(config.actors)]


def _judges(recipe: Recipe, policy: PolicyRef, judge: PolicyRef | None) -> list[Any]:
    engine, share = _as_placed(recipe, recipe.judge.engine)
    config = recipe.judge.model_copy(update={"engine": engine})
    has_model = config.row.weights is not None
    options = _place(engine, config.cpus_per_actor, share) if has_model else {"num_cpus": config.cpus_per_actor}
    weights = judge or policy if has_model else None
    place = RemoteJudge.options(**options)
    return [place.remote(config, weights, recipe.harmfulness) for _ in range(config.actors)]


def _as_placed(recipe: Recipe, engine: EngineConfig) -> tuple[EngineConfig, float]:
    """An engine's settings, and its share of each of its GPUs."""
    if not slept(recipe):
        return engine, 1.0
    return engine.model_copy(update={"extra": {**engine.extra, SLEEPS: True}}), ENGINE_SHARE


def _place(engine: EngineConfig, cpus: float, share: float) -> dict[str, Any]:
    return {
        "num_cpus": cpus,
        "num_gpus": engine.tensor_parallel * share if engine.device == "cuda" else 0,
        "runtime_env": {"env_vars": engine.environment()},
    }
