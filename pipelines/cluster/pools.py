"""The pools: long-lived generator and judge actors, spawned once and kept warm for the whole run."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import ray
from ray.exceptions import RayActorError

from actors.contract.actor_address import ActorAddress, find_actor
from actors.contract.growth import boot_s
from actors.contract.records import PolicyRef
from actors.engine.config import EngineConfig
from actors.engine.vllm import SLEEPS
from actors.errors import SalusError, reason
from actors.remote import RemoteGenerator, RemoteJudge
from pipelines.cluster.turns.division import ENGINE_SHARE, slept
from pipelines.config.cluster import SharedJudges
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
    def judge_queue(self) -> int | None:
        """Most shards that may wait at each judge; None: as many as at a generator."""

    def judge_limit_s(self, shard_timeout_s: float) -> float:
        """How long a judge may take over one shard, seconds."""

    @property
    def stay_up(self) -> bool:
        """Whether they are up while trainers train."""

    def passes(self) -> Iterator[tuple[Sequence[Any], Sequence[Any]]]:
        """Generators and judges as they are up at once: both, or first the ones and then the others."""

    def rest(self) -> None:
        """Others have their turn, before the pools are asked again."""

    def forget(self) -> None:
        """Have the nodes remove the challengers' weights that generators merged there; no cycle follows."""

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
    # Where the judges are not this run's alone.
    shared: SharedJudges | None = None

    @property
    def judge_queue(self) -> int | None:
        """Most shards that may wait at each judge; None: as many as at a generator."""
        return self.shared.queue if self.shared is not None else None

    def judge_limit_s(self, shard_timeout_s: float) -> float:
        """How long a judge may take over one shard, seconds; one that is shared judges other runs' shards before it."""
        return shard_timeout_s * (1 + (self.shared.ahead if self.shared is not None else 0))

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
            return all(ray.get([actor.rest.remote() for actor in self._own()], timeout=_LEAVE_S))
        except ray.exceptions.RayError:
            return False

    def forget(self) -> None:
        asked = [actor.forget.remote() for actor in self.generators]
        if asked:
            # Where that fails, the next run on the node removes them.
            ray.wait(asked, num_returns=len(asked), timeout=_LEAVE_S)

    def leave(self) -> None:
        """End every engine, and return when none holds its device any more, so that others find room there."""
        asked = [actor.leave.remote() for actor in self._own()]
        if asked:
            # Whatever becomes of it, the actor is ended next.
            ray.wait(asked, num_returns=len(asked), timeout=_LEAVE_S)
        self.close()

    def close(self) -> None:
        for actor in self._own():
            ray.kill(actor)

    def _own(self) -> tuple[Any, ...]:
        """The actors that end with the run; shared judges do not."""
        return (*self.generators, *(self.judges if self.shared is None else ()))


def _asked(actor: Any) -> Any:
    """Whether an actor's engine is up, asked once: Ray prints each retry, whole traceback and all."""
    return actor.ready.options(max_task_retries=0).remote()


def spawn(
    recipe: Recipe,
    policy: PolicyRef,
    judge: PolicyRef | None,
    generate: bool,
    label: bool,
    shared: SharedJudges | None = None,
) -> Pools:
    """Start the pools a step needs; engines come up in the background.

    Args:
        recipe: the settings of both pools.
        policy: what is generated with.
        judge: the judge's weights; None: it has none, or the policy judges.
        generate: start generators.
        label: start judges.
        shared: a pool of the recipe's own judge that is up; taken in place of a new one.

    Raises:
        SalusError: the shared pool is not up.
    """
    judges: Sequence[Any] = ()
    if label:
        judges = _found(shared) if shared is not None else _judges(recipe, policy, judge)
    return Pools(generators=_generators(recipe, policy) if generate else (), judges=judges, shared=shared)


def spawn_shared(recipe: Recipe, judge: PolicyRef | None, pool: SharedJudges) -> Pools:
    """Start the recipe's judges under the names of `pool`; they end with this process, or with `close`."""
    return Pools(generators=(), judges=_judges(recipe, judge, judge, pool))


def _found(shared: SharedJudges) -> list[Any]:
    try:
        return [find_actor(ActorAddress(actor=name, namespace=shared.namespace)) for name in shared.actors]
    except ValueError as error:
        raise SalusError(
            f"The judges {', '.join(shared.actors)} that this run shares with others are not up. Set"
            " cluster.shared_judges to null for judges of its own."
        ) from error


def _generators(recipe: Recipe, policy: PolicyRef) -> list[Any]:
    config = recipe.generate
    engine, share = _as_placed(recipe, config.engine)
    place = RemoteGenerator.options(**_place(engine, config.cpus_per_actor, share))
    return [place.remote(engine, policy) for _ in range(config.actors)]


def _judges(
    recipe: Recipe, policy: PolicyRef | None, judge: PolicyRef | None, pool: SharedJudges | None = None
) -> list[Any]:
    engine, share = _as_placed(recipe, recipe.judge.engine)
    config = recipe.judge.model_copy(update={"engine": engine})
    has_model = config.row.weights is not None
    options = _place(engine, config.cpus_per_actor, share) if has_model else {"num_cpus": config.cpus_per_actor}
    weights = judge or policy if has_model else None
    if pool is None:
        place = RemoteJudge.options(**options)
        return [place.remote(config, weights, recipe.harmfulness) for _ in range(config.actors)]
    places = [RemoteJudge.options(name=name, namespace=pool.namespace, **options) for name in pool.actors]
    return [place.remote(config, weights, recipe.harmfulness) for place in places]


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
