"""Who starts when, and with how many generators: the room of one Ray, divided by priority and by weight.

A member needs its plan, on GPUs with one generator. Members start in the order of their priority as far as they fit.
The GPUs that are left then go to generators of those that start, one at a time. The next one goes to the member that
has the fewest GPUs for its weight.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from actors.errors import SalusError
from pipelines.cluster.devices import Resources
from pipelines.cluster.plan import UNITS, Demand, Plan, check, make_plan
from pipelines.config.cluster import SharedPool, SharedTrainers
from pipelines.study.fleet.member import Member
from pipelines.study.fleet.shared import SharedActors

# A member's own process, with Ray's and Arrow's libraries: proportional set size.
DRIVER_GIB = 0.5
# A row of a plan (`pipelines.cluster.demand`).
_RAY = "driver and Ray"
# Sums of tenths are not exact.
_CLOSE = 1e-6


class Room(NamedTuple):
    """What is free, or needed; `cpus` without end where slots share the cores (an embedded Ray)."""

    cpus: float
    gpus: float
    memory_gib: float

    @classmethod
    def of(cls, there: Resources) -> Room:
        return cls(float("inf") if there.cpus is None else there.cpus, there.gpus, there.memory_gib)

    def less(self, other: Room) -> Room:
        return Room(*(mine - theirs for mine, theirs in zip(self, other, strict=True)))

    def holds(self, other: Room) -> bool:
        return all(mine >= theirs - _CLOSE for mine, theirs in zip(self, other, strict=True))


def together(rooms: Collection[Room]) -> Room:
    """What all of these need at the same time."""
    return Room(*(sum(values) for values in zip(*rooms, strict=True))) if rooms else Room(0, 0, 0)


@dataclass(frozen=True)
class Division:
    """The room of one Ray, for members and for the pools that they share."""

    members: tuple[Member, ...]
    there: Resources
    pools: tuple[SharedActors, ...] = ()
    # Most members that run at once; None: as many as there is room for.
    side_by_side: int | None = None

    @property
    def order(self) -> tuple[Member, ...]:
        """Higher priorities first, and else as they were named."""
        return tuple(sorted(self.members, key=lambda member: -member.priority))

    def needs(self, member: Member) -> Room:
        """What a member starts by itself: no actors that it shares, and no Ray."""
        plan = self.plan(member)
        ray = sum(row.memory_gib for row in plan.rows if row.actor == _RAY)
        return Room(plan.cpus, plan.gpus, plan.memory_gib - ray + DRIVER_GIB)

    def plan(self, member: Member) -> Plan:
        """A member's plan, without the actors that it shares."""
        cluster = member.recipe.cluster.model_copy(update=self.shared(member))
        return make_plan(member.recipe.model_copy(update={"cluster": cluster}))

    def shared(self, member: Member) -> dict[str, SharedPool | SharedTrainers]:
        """The pools that a member asks, as its section cluster names them."""
        return {pool.setting: pool.settings(member) for pool in self.pools if member.name in pool.names}

    def base(self, pools: Sequence[SharedActors] | None = None) -> Room:
        """What is there once: Ray, and these pools (None: all)."""
        ray = max(row.memory_gib for each in self.members for row in self.plan(each).rows if row.actor == _RAY)
        each = [pool_room(pool) for pool in (self.pools if pools is None else pools)]
        return together([Room(0.0, 0.0, ray), *each])

    def slots(self) -> float:
        """CPUs that all need who may ever run at the same time."""
        each = sorted((self.needs(member).cpus for member in self.members), reverse=True)
        return self.base().cpus + sum(each[: self.side_by_side])

    def check(self) -> None:
        """Refuse members that could never run.

        Raises:
            SalusError: one needs more than there is, by itself or beside the actors that are shared.
        """
        for member in self.members:
            check(make_plan(least(member).recipe), self.there)
        free = Room.of(self.there).less(self.base())
        for member in self.members:
            if not free.holds(self.needs(least(member))):
                raise SalusError(self._lacking(member, free))

    def starting(
        self, waiting: Collection[str], running: Sequence[Member], pools: Sequence[SharedActors] | None = None
    ) -> tuple[Member, ...]:
        """Who of those that wait starts now, with as many generators as it gets.

        No member takes room that one of higher priority waits for. Among equals, one that fits goes before one that
        does not.

        Args:
            waiting: their names.
            running: those that run, as they were started.
            pools: those that are up or will be; None: all.
        """
        used = together([self.base(pools), *(self.needs(member) for member in running)])
        free = Room.of(self.there).less(used)
        most = len(self.members) if self.side_by_side is None else self.side_by_side - len(running)
        chosen: list[Member] = []
        held_back: int | None = None
        for member in self.order:
            if member.name not in waiting or len(chosen) >= most:
                continue
            if held_back is not None and member.priority < held_back:
                break
            small = least(member)
            if free.holds(needed := self.needs(small)):
                chosen.append(small)
                free = free.less(needed)
            elif held_back is None:
                held_back = member.priority
        return self._grown(chosen, free)

    def _grown(self, chosen: list[Member], free: Room) -> tuple[Member, ...]:
        """The GPUs that are left, as generators."""
        while True:
            for member in sorted(chosen, key=lambda each: self.needs(each).gpus / each.weight):
                larger = _with_generators(member, member.recipe.generate.actors + 1)
                # More generators than shards would have nothing to do.
                useful = self._grows(member) and larger.recipe.generate.actors <= larger.recipe.data.shards_per_cycle
                more = self.needs(larger).less(self.needs(member))
                if useful and free.holds(more):
                    chosen[chosen.index(member)] = larger
                    free = free.less(more)
                    break
            else:
                return tuple(chosen)

    def _grows(self, member: Member) -> bool:
        """Whether more GPUs are more generators of its own."""
        return on_gpus(member) and "shared_generators" not in self.shared(member)

    def _lacking(self, member: Member, free: Room) -> str:
        needed = self.needs(least(member))
        what: Demand = next(name for name in UNITS if getattr(needed, name) > getattr(free, name) + _CLOSE)
        unit, override = UNITS[what]
        return (
            f"{member.kind.capitalize()} {member.name} needs {getattr(needed, what):.3g} {unit}, but beside Ray and the"
            f" actors that are shared {self.there.where} has {max(0.0, getattr(free, what)):.3g}. Free or add some, ask"
            f" for less in its recipe, or say with cluster.{override} how much there will be."
        )


def on_gpus(member: Member) -> bool:
    """Whether its generators are engines on GPUs."""
    return member.recipe.generate.engine.device == "cuda"


def least(member: Member) -> Member:
    """The member as it needs the fewest GPUs: with one generator. On a CPU it stays as it is."""
    return _with_generators(member, 1) if on_gpus(member) else member


def pool_room(pool: SharedActors) -> Room:
    """What the actors of a pool need together."""
    return together([Room(row.count * row.cpus, row.count * row.gpus, row.count * row.memory_gib) for row in pool.rows])


def _with_generators(member: Member, actors: int) -> Member:
    generate = member.recipe.generate.model_copy(update={"actors": actors})
    return replace(member, recipe=member.recipe.model_copy(update={"generate": generate}))
