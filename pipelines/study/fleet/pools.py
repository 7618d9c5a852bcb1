"""Which members share actors: one pool for all that would start the same, up while a member asks it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from pipelines.cluster.progress import Reporter
from pipelines.config.cluster import SharedKind
from pipelines.config.recipe import Recipe
from pipelines.data.tiny.cache import content_key
from pipelines.runs.contents import MODEL_FILES, contents_of
from pipelines.runs.materials import judge_clinic
from pipelines.runs.prompts.sets import clinic_config, medsafety_config
from pipelines.study.fleet.member import Member
from pipelines.study.fleet.shared import KINDS, Opened, SharedActors

# Settings of section judge that no judge actor reads: where its model is from, which the model's content tells, and
# what is made of its labels.
_UNREAD = {
    *("source", "path", "revision", "parameters_b", "actors", "max_missing", "shard_timeout_s", "truth"),
    *("calibration", "trust", "accept_unreliable", "train"),
}
# The same of section model, and settings of its size alone.
_UNREAD_MODEL = {"source", "path", "revision", "parameters_b"}


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
    return tuple(KINDS[kind](group, namespace, number) for number, (kind, group) in enumerate(found, start=1))


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
