"""Actors that several members share: judges, generators and trainers, one pool for all that would start the same."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import ray

from actors.contract.actor_address import ActorAddress, beside_me
from actors.remote import RemoteTrainingDispatcher
from pipelines.cluster.demand import Part, demand, policy_shape
from pipelines.cluster.footprint import weights_gib
from pipelines.cluster.plan import PlanRow
from pipelines.cluster.pools import Pools, spawn_shared_generators, spawn_shared_judges
from pipelines.cluster.progress import Reporter
from pipelines.config.cluster import SharedKind, SharedPool, SharedTrainers
from pipelines.config.recipe import Recipe
from pipelines.data.tiny.cache import content_key
from pipelines.runs.contents import MODEL_FILES, contents_of
from pipelines.runs.materials import gather_own_judge, gather_policy, judge_clinic
from pipelines.runs.prompts.sets import clinic_config, medsafety_config
from pipelines.study.fleet.member import Member

# Shards of a member of weight 1 that may wait at each actor, as at one of its own (`pipelines.cluster.stream`).
QUEUE = 2
# Settings of section judge that no judge actor reads: where its model is from, which the model's content tells, and
# what is made of its labels.
_UNREAD = {
    *("source", "path", "revision", "parameters_b", "actors", "max_missing", "shard_timeout_s", "truth"),
    *("calibration", "trust", "accept_unreliable", "train"),
}
# The same of section model, and settings of its size alone.
_UNREAD_MODEL = {"source", "path", "revision", "parameters_b"}
# How long trainers have to end by themselves once no member is left.
_CLOSE_S = 20.0


class Opened(Protocol):
    """The actors of a pool that is up."""

    def close(self) -> None: ...


@dataclass(frozen=True, eq=False)
class SharedActors:
    """One pool, and the members that ask it."""

    kind: SharedKind
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
    def recipe(self) -> Recipe:
        """What its actors are started by: the first member's, with as many as the member that asks for most."""
        first = self.members[0].recipe
        if self.kind == "judges":
            most = max(member.recipe.judge.actors for member in self.members)
            return first.model_copy(update={"judge": first.judge.model_copy(update={"actors": most})})
        if self.kind == "generators":
            most = max(member.recipe.generate.actors for member in self.members)
            return first.model_copy(update={"generate": first.generate.model_copy(update={"actors": most})})
        return first

    @property
    def rows(self) -> tuple[PlanRow, ...]:
        """What its actors take."""
        if self.kind == "trainers":
            each = [_rows(member.recipe, self.kind) for member in self.members]
            # Each member's rows are of the same workers, with a policy of its own.
            return max(each, key=lambda rows: sum(row.count * row.memory_gib for row in rows))
        return _rows(self.recipe, self.kind)

    def settings(self, member: Member) -> SharedPool | SharedTrainers:
        """What a member is told: actors take shards in their order, so more that wait are more that are done."""
        if self.kind == "trainers":
            return SharedTrainers(namespace=self.namespace, actor=f"trainers-{self.number}")
        return self._pool(member)

    def open(self, storage: Path, reporter: Reporter) -> Opened:
        """Start its actors; they come up in the background.

        Args:
            storage: a folder for what trainers keep while they are up.
            reporter: is told of models that are built or fetched.

        Raises:
            SalusError: a model is not here.
        """
        if self.kind == "trainers":
            return _Trainers(self, storage)
        recipe, pool = self.recipe, self._pool(self.members[0])
        if self.kind == "judges":
            return spawn_shared_judges(recipe, gather_own_judge(recipe, reporter), pool)
        return _Generators(spawn_shared_generators(recipe, gather_policy(recipe, reporter), pool))

    def _pool(self, member: Member) -> SharedPool:
        ahead = sum(_queue(other) for other in self.members if other.name != member.name)
        config = self.recipe.judge if self.kind == "judges" else self.recipe.generate
        actors = tuple(f"{self.kind}-{self.number}-{place}" for place in range(config.actors))
        return SharedPool(namespace=self.namespace, actors=actors, queue=_queue(member), ahead=ahead)


def _queue(member: Member) -> int:
    return max(1, round(QUEUE * member.weight))


def _rows(recipe: Recipe, kind: SharedKind) -> tuple[PlanRow, ...]:
    if kind == "trainers":
        return demand(recipe, ["train"])[1:]
    part: Part = "judge" if kind == "judges" else "generate"
    # Attackers are each member's own.
    return tuple(row for row in demand(recipe, [part]) if row.actor in ("judge", "generator"))


class _Generators:
    """Generators that are shared; what they merged on their nodes goes when they end."""

    def __init__(self, pools: Pools) -> None:
        self._pools = pools

    def close(self) -> None:
        self._pools.forget()
        self._pools.close()


class _Trainers:
    """The dispatcher of shared trainers, which starts them when the first member joins."""

    def __init__(self, pool: SharedActors, storage: Path) -> None:
        first = pool.members[0]
        settings = pool.settings(first)
        assert isinstance(settings, SharedTrainers)
        train = first.recipe.train
        shapes = [policy_shape(member.recipe) for member in pool.members]
        place = RemoteTrainingDispatcher.options(
            name=settings.actor, namespace=settings.namespace, scheduling_strategy=beside_me()
        )
        self._dispatcher: Any = place.remote(
            ActorAddress(actor=settings.actor, namespace=settings.namespace),
            {name: train.of(name) for name in train.challengers},
            f"{pool.number}-{uuid.uuid4().hex[:8]}",
            str(storage),
            max(weights_gib(shape, "float32") for shape in shapes),
        )

    def close(self) -> None:
        try:
            ray.get(self._dispatcher.stop.remote())
            until_s = time.monotonic() + _CLOSE_S
            while time.monotonic() < until_s and not ray.get(self._dispatcher.ended.remote()):
                time.sleep(0.2)
        finally:
            ray.kill(self._dispatcher)


def shared_pools(members: Sequence[Member], namespace: str, kinds: Collection[SharedKind]) -> tuple[SharedActors, ...]:
    """The pools that two or more members share, in the members' order; nothing is built or started.

    Args:
        members: those that will run.
        namespace: of the actors in Ray.
        kinds: what may be shared.
    """
    found: list[tuple[SharedKind, tuple[Member, ...]]] = []
    keys: dict[SharedKind, Callable[[Member], str | None]] = {
        "judges": judge_key,
        "generators": generator_key,
        "trainers": trainer_key,
    }
    for kind, key_of in keys.items():
        by_key: dict[str, list[Member]] = {}
        for member in members if kind in kinds else ():
            if member.recipe.cluster.placement == "apart" and (key := key_of(member)) is not None:
                by_key.setdefault(key, []).append(member)
        found += [(kind, tuple(group)) for group in by_key.values() if len(group) > 1]
    return tuple(SharedActors(kind, group, namespace, number) for number, (kind, group) in enumerate(found, start=1))


def judge_key(member: Member) -> str | None:
    """What tells a member's judge from all others: settings, prompt, and the content of its model.

    None where the judge is not the member's alone to name: the champion judges, or its model is not here yet.
    """
    recipe = member.recipe
    judge = recipe.judge
    if judge.row.champion_judges:
        return None
    said = judge.model_dump(mode="json", exclude=_UNREAD)
    rated = recipe.harmfulness.model_dump(mode="json") if recipe.harmfulness is not None else None
    model = _judge_model(recipe) if judge.row.weights == "own" else None
    # The day that its chat template names.
    day = recipe.model.template_date.isoformat()
    return None if model == "" else content_key("judge", [said, rated, model, day])


def generator_key(member: Member) -> str | None:
    """The same of generators: the engine's settings, and the content of the deployed policy and of its template."""
    recipe = member.recipe
    model = _policy_model(recipe)
    template = recipe.model.model_dump(mode="json", exclude=_UNREAD_MODEL)
    generate = recipe.generate
    return None if model == "" else content_key("generator", [generate.engine.model_dump(mode="json"), model, template])


def trainer_key(member: Member) -> str | None:
    """The same of trainers, which load a policy for each job: their settings alone.

    None where they end with each cycle, or keep checkpoints, whose folders are named after policies of one run.
    """
    train = member.recipe.train
    if not train.resident or train.checkpoint_every_steps is not None:
        return None
    return content_key("trainers", [train.model_dump(mode="json")])


def _judge_model(recipe: Recipe) -> Any:
    """What tells the judge's model; empty where that is not known."""
    judge = recipe.judge
    if judge.source == "clinic":
        assert judge.row.clinic is not None
        return [judge.row.clinic, judge_clinic(recipe, judge.row.clinic).model_dump(mode="json")]
    return _foreign(judge.source == "hub", judge.path, judge.revision)


def _policy_model(recipe: Recipe) -> Any:
    """The same of the deployed policy's."""
    model = recipe.model
    if model.source == "clinic":
        return clinic_config(recipe).model_dump(mode="json")
    if model.source == "medsafety":
        return medsafety_config(recipe).model_dump(mode="json")
    return _foreign(model.source == "hub", model.path, model.revision)


def _foreign(on_hub: bool, path: str | None, revision: str | None) -> Any:
    if on_hub:
        return [path, revision]
    folder = Path(path or "").expanduser()
    # Judgments are found by the name of the judge's folder.
    return [folder.name, _sum(folder.absolute())] if (folder / "config.json").is_file() else ""


@cache
def _sum(folder: Path) -> str:
    # Members that share a model name one folder, whose weights take a while to read.
    return contents_of(folder, MODEL_FILES).sha256


class RunningPools:
    """Life: `RunningPools(pools, storage)` -> `start` -> `ended`*; a pool ends with the last of its members."""

    def __init__(self, pools: Sequence[SharedActors], storage: Path) -> None:
        """`storage` is a folder for what trainers keep while they are up; all nodes see it."""
        self._asked = {pool: set(pool.names) for pool in pools}
        self._storage = storage
        self._up: dict[SharedActors, Opened] = {}

    def start(self, reporter: Reporter) -> None:
        """Start the actors of all pools; they come up in the background.

        Raises:
            SalusError: a model is not here.
        """
        for pool in self._asked:
            self._up[pool] = pool.open(self._storage, reporter)

    def live(self) -> tuple[SharedActors, ...]:
        """The pools that a member may still ask."""
        return tuple(pool for pool, asked in self._asked.items() if asked)

    def ended(self, name: str) -> None:
        """A member asks no more."""
        for pool, asked in self._asked.items():
            if name in asked:
                asked.remove(name)
                if not asked and pool in self._up:
                    self._up.pop(pool).close()
