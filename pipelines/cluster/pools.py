"""The pools: long-lived generator and judge actors, spawned once and kept warm for the whole run."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
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
from pipelines.cluster.stream import Limits, Queues
from pipelines.cluster.turns.division import ENGINE_SHARE, slept
from pipelines.config.cluster import ClusterConfig, SharedPool
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
    def waits(self) -> Waits:
        """How many shards may wait at each of them, and how many of other runs are before these."""

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
class Waits:
    """The queues at actors that are perhaps not this run's alone; None: they are."""

    generators: SharedPool | None = None
    judges: SharedPool | None = None

    def limits(self, generate_s: float | None, judge_s: float | None) -> Limits:
        """How long an actor may take over one shard: one that is shared has other runs' shards before it.

        Args:
            generate_s: how long a generator of the run's own may, seconds; None: as long as it takes.
            judge_s: the same of a judge.
        """
        return Limits(_longer(generate_s, self.generators), _longer(judge_s, self.judges))

    @property
    def queues(self) -> Queues:
        """Most shards that wait at one actor."""
        own = Queues()
        return Queues(
            generator=self.generators.queue if self.generators is not None else own.generator,
            judge=self.judges.queue if self.judges is not None else own.judge,
        )


def _longer(limit_s: float | None, shared: SharedPool | None) -> float | None:
    return limit_s if limit_s is None or shared is None else limit_s * (1 + shared.ahead)


@dataclass(frozen=True)
class Pools:
    """Handles of both pools; closing them frees their engines."""

    generators: Sequence[Any]
    judges: Sequence[Any]
    waits: Waits = field(default_factory=Waits)

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
        # Generators that are shared forget when the last run that asks them has ended.
        asked = [actor.forget.remote() for actor in self.generators] if self.waits.generators is None else []
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
        """The actors that end with the run; shared ones do not."""
        generators = self.generators if self.waits.generators is None else ()
        return (*generators, *(self.judges if self.waits.judges is None else ()))


def _asked(actor: Any) -> Any:
    """Whether an actor's engine is up, asked once: Ray prints each retry, whole traceback and all."""
    return actor.ready.options(max_task_retries=0).remote()


def spawn(
    recipe: Recipe,
    policy: PolicyRef,
    judge: PolicyRef | None,
    generate: bool,
    label: bool,
    shared: ClusterConfig | None = None,
) -> Pools:
    """Start the pools a step needs; engines come up in the background.

    Args:
        recipe: the settings of both pools.
        policy: what is generated with.
        judge: the judge's weights; None: it has none, or the policy judges.
        generate: start generators.
        label: start judges.
        shared: names pools of the recipe's own that are up, if any; taken in place of new ones.

    Raises:
        SalusError: a shared pool is not up.
    """
    waits = Waits(shared.shared_generators, shared.shared_judges) if shared is not None else Waits()
    generators: Sequence[Any] = ()
    judges: Sequence[Any] = ()
    if generate:
        generators = _found(waits.generators, "generators") if waits.generators else _generators(recipe, policy)
    if label:
        judges = _found(waits.judges, "judges") if waits.judges else _judges(recipe, policy, judge)
    return Pools(generators, judges, waits)


def spawn_shared_judges(recipe: Recipe, judge: PolicyRef | None, pool: SharedPool) -> Pools:
    """Start the recipe's judges under the names of `pool`; they end with this process, or with `close`."""
    return Pools(generators=(), judges=_judges(recipe, judge, judge, pool))


def spawn_shared_generators(recipe: Recipe, policy: PolicyRef, pool: SharedPool) -> Pools:
    """The same of generators, which begin with `policy`; every task names its own."""
    return Pools(generators=_generators(recipe, policy, pool), judges=())


def _found(shared: SharedPool, what: str) -> list[Any]:
    try:
        return [find_actor(ActorAddress(actor=name, namespace=shared.namespace)) for name in shared.actors]
    except ValueError as error:
        raise SalusError(
            f"The {what} {', '.join(shared.actors)} that this run shares with others are not up. Set"
            f" cluster.shared_{what} to null for {what} of its own."
        ) from error


def _generators(recipe: Recipe, policy: PolicyRef, pool: SharedPool | None = None) -> list[Any]:
    config = recipe.generate
    engine, share = _as_placed(recipe, config.engine)
    options = _place(engine, config.cpus_per_actor, share)
    return [place.remote(engine, policy) for place in _places(RemoteGenerator, config.actors, options, pool)]


def _places(remote: Any, count: int, options: Mapping[str, Any], pool: SharedPool | None) -> list[Any]:
    """Where each actor is started: so many without a name, or under those of a pool."""
    if pool is None:
        return [remote.options(**options)] * count
    return [remote.options(name=name, namespace=pool.namespace, **options) for name in pool.actors]


def _judges(
    recipe: Recipe, policy: PolicyRef | None, judge: PolicyRef | None, pool: SharedPool | None = None
) -> list[Any]:
    engine, share = _as_placed(recipe, recipe.judge.engine)
    config = recipe.judge.model_copy(update={"engine": engine})
    has_model = config.row.weights is not None
    options = _place(engine, config.cpus_per_actor, share) if has_model else {"num_cpus": config.cpus_per_actor}
    weights = judge or policy if has_model else None
    places = _places(RemoteJudge, config.actors, options, pool)
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
