"""A pool of actors that several members share: what its actors take, what members are told of them, how they start."""

from __future__ import annotations

import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

import ray

from actors.contract.actor_address import ActorAddress, beside_me
from actors.remote import RemoteTrainingDispatcher
from pipelines.cluster.demand import demand, policy_shape
from pipelines.cluster.footprint import weights_gib
from pipelines.cluster.plan import PlanRow
from pipelines.cluster.pools import Pools, spawn_shared_generators, spawn_shared_judges
from pipelines.cluster.progress import Reporter
from pipelines.config.cluster import SharedKind, SharedPool, SharedTrainers
from pipelines.config.recipe import Recipe
from pipelines.runs.materials import gather_own_judge, gather_policy
from pipelines.study.fleet.member import Member

# Shards of a member of weight 1 that may wait at each actor, as at one of its own (`pipelines.cluster.stream`).
QUEUE = 2
# How long trainers have to end by themselves once no member is left.
_CLOSE_S = 20.0


class Opened(Protocol):
    """The actors of a pool that is up."""

    def close(self) -> None: ...


@dataclass(frozen=True, eq=False)
class SharedActors(ABC):
    """One pool, and the members that ask it."""

    kind: ClassVar[SharedKind]

    members: tuple[Member, ...]
    namespace: str
    number: int

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(member.name for member in self.members)

    @property
    def setting(self) -> str:
        """Where a member's recipe names the pool, in section cluster."""
        return f"shared_{self.kind}"

    @property
    @abstractmethod
    def rows(self) -> tuple[PlanRow, ...]:
        """What its actors take."""

    @abstractmethod
    def settings(self, member: Member) -> SharedPool | SharedTrainers:
        """What a member is told."""

    @abstractmethod
    def open(self, storage: Path, reporter: Reporter) -> Opened:
        """Start its actors; they come up in the background.

        Args:
            storage: a folder for what trainers keep while they are up.
            reporter: is told of models that are built or fetched.

        Raises:
            SalusError: a model is not here.
        """


class SharedEngines(SharedActors):
    """Actors with an engine each: as many as the member that asks for most has."""

    section: ClassVar[Literal["judge", "generate"]]

    @property
    def recipe(self) -> Recipe:
        """What they are started by: the first member's, with so many of them."""
        first = self.members[0].recipe
        most = max(getattr(member.recipe, self.section).actors for member in self.members)
        return first.model_copy(update={self.section: getattr(first, self.section).model_copy(update={"actors": most})})

    @property
    def rows(self) -> tuple[PlanRow, ...]:
        # Attackers are each member's own.
        return tuple(row for row in demand(self.recipe, [self.section]) if row.actor in ("judge", "generator"))

    def settings(self, member: Member) -> SharedPool:
        """Actors take shards in their order, so more that wait are more that are done."""
        ahead = sum(_queue(other) for other in self.members if other.name != member.name)
        count = getattr(self.recipe, self.section).actors
        actors = tuple(f"{self.kind}-{self.number}-{place}" for place in range(count))
        return SharedPool(namespace=self.namespace, actors=actors, queue=_queue(member), ahead=ahead)


class SharedJudges(SharedEngines):
    """Judges of the same settings, prompt and model."""

    kind, section = "judges", "judge"

    def open(self, storage: Path, reporter: Reporter) -> Opened:
        own = gather_own_judge(self.recipe, reporter)
        return spawn_shared_judges(self.recipe, own, self.settings(self.members[0]))


class SharedGenerators(SharedEngines):
    """Generators of the same engine and deployed policy."""

    kind, section = "generators", "generate"

    def open(self, storage: Path, reporter: Reporter) -> Opened:
        policy = gather_policy(self.recipe, reporter)
        return _Generators(spawn_shared_generators(self.recipe, policy, self.settings(self.members[0])))


class SharedDispatcher(SharedActors):
    """Trainers of the same settings, whose dispatcher hands out the jobs of all members."""

    kind = "trainers"

    @property
    def rows(self) -> tuple[PlanRow, ...]:
        # Each member's rows are of the same workers, with a policy of its own.
        each = [demand(member.recipe, ["train"])[1:] for member in self.members]
        return max(each, key=lambda rows: sum(row.count * row.memory_gib for row in rows))

    def settings(self, member: Member) -> SharedTrainers:
        return SharedTrainers(namespace=self.namespace, actor=f"trainers-{self.number}")

    def open(self, storage: Path, reporter: Reporter) -> Opened:
        address = ActorAddress(actor=self.settings(self.members[0]).actor, namespace=self.namespace)
        train = self.members[0].recipe.train
        place = RemoteTrainingDispatcher.options(
            name=address.actor, namespace=address.namespace, scheduling_strategy=beside_me()
        )
        return _Trainers(
            place.remote(
                address,
                {name: train.of(name) for name in train.challengers},
                f"{self.number}-{uuid.uuid4().hex[:8]}",
                str(storage),
                max(weights_gib(policy_shape(member.recipe), "float32") for member in self.members),
            )
        )


KINDS: Mapping[SharedKind, type[SharedActors]] = {
    each.kind: each for each in (SharedJudges, SharedGenerators, SharedDispatcher)
}


def _queue(member: Member) -> int:
    return max(1, round(QUEUE * member.weight))


class _Generators:
    """Generators that are shared; what they merged on their nodes goes when they end."""

    def __init__(self, pools: Pools) -> None:
        self._pools = pools

    def close(self) -> None:
        self._pools.forget()
        self._pools.close()


class _Trainers:
    """Trainers that are shared; their dispatcher starts them when the first member joins."""

    def __init__(self, dispatcher: Any) -> None:
        self._dispatcher = dispatcher

    def close(self) -> None:
        try:
            ray.get(self._dispatcher.stop.remote())
            until_s = time.monotonic() + _CLOSE_S
            while time.monotonic() < until_s and not ray.get(self._dispatcher.ended.remote()):
                time.sleep(0.2)
        finally:
            ray.kill(self._dispatcher)
