"""Judge pools that several members share: one for all that ask the same model with the same settings and prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pipelines.cluster.pools import Pools, spawn_shared
from pipelines.cluster.progress import Reporter
from pipelines.config.cluster import SharedJudges
from pipelines.data.tiny.cache import content_key
from pipelines.runs.contents import MODEL_FILES, contents_of
from pipelines.runs.materials import gather_own_judge, judge_clinic
from pipelines.study.fleet.member import Member

# Shards of a member of weight 1 that may wait at each judge, as at a judge of its own (`pipelines.cluster.stream`).
QUEUE = 2
# Settings of section judge that no judge actor reads: where its model is from, which the model's content tells, and
# what is made of its labels.
_UNREAD = {
    *("source", "path", "revision", "parameters_b", "actors", "max_missing", "shard_timeout_s", "truth"),
    *("calibration", "trust", "accept_unreliable", "train"),
}


@dataclass(frozen=True, eq=False)
class JudgePool:
    """One pool, and the members that ask it."""

    members: tuple[Member, ...]
    namespace: str
    number: int

    @property
    def actors(self) -> int:
        """As many judges as the member that asks for most of them would have had alone."""
        return max(member.recipe.judge.actors for member in self.members)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(member.name for member in self.members)

    def settings(self, member: Member) -> SharedJudges:
        """What a member is told: judges take shards in their order, so more that wait are more that are judged."""
        ahead = sum(_queue(other) for other in self.members if other.name != member.name)
        actors = tuple(f"judge-{self.number}-{place}" for place in range(self.actors))
        return SharedJudges(namespace=self.namespace, actors=actors, queue=_queue(member), ahead=ahead)


def _queue(member: Member) -> int:
    return max(1, round(QUEUE * member.weight))


def judge_pools(members: Sequence[Member], namespace: str) -> tuple[JudgePool, ...]:
    """The pools that two or more members share, in the members' order; nothing is built or started.

    Args:
        members: those that will run.
        namespace: of the judges in Ray.
    """
    by_key: dict[str, list[Member]] = {}
    for member in members:
        if (key := judge_key(member)) is not None:
            by_key.setdefault(key, []).append(member)
    shared = [tuple(group) for group in by_key.values() if len(group) > 1]
    return tuple(JudgePool(group, namespace, number) for number, group in enumerate(shared, start=1))


def judge_key(member: Member) -> str | None:
    """What tells a member's judge from all others: settings, prompt, and the content of its model.

    None where the judge is not the member's alone to name: the champion judges, or its model is not here yet. The same
    holds where the member's actors have turns, in which its judges end.
    """
    recipe = member.recipe
    judge = recipe.judge
    if judge.row.champion_judges or recipe.cluster.placement == "by_turns":
        return None
    said = judge.model_dump(mode="json", exclude=_UNREAD)
    rated = recipe.harmfulness.model_dump(mode="json") if recipe.harmfulness is not None else None
    model = _model(member) if judge.row.weights == "own" else None
    # The day that its chat template names.
    day = recipe.model.template_date.isoformat()
    return None if model == "" else content_key("judge", [said, rated, model, day])


def _model(member: Member) -> Any:
    """What tells the judge's model; empty where that is not known."""
    recipe = member.recipe
    judge = recipe.judge
    if judge.source == "clinic":
        assert judge.row.clinic is not None
        return [judge.row.clinic, judge_clinic(recipe, judge.row.clinic).model_dump(mode="json")]
    if judge.source == "hub":
        return [judge.path, judge.revision]
    folder = Path(judge.path or "").expanduser()
    # Judgments are found by the name of the judge's folder.
    return [folder.name, _sum(folder.absolute())] if (folder / "config.json").is_file() else ""


@cache
def _sum(folder: Path) -> str:
    # Members that share a model name one folder, whose weights take a while to read.
    return contents_of(folder, MODEL_FILES).sha256


class RunningPools:
    """Life: `RunningPools(pools)` -> `start` -> `ended`*; a pool ends with the last of its members."""

    def __init__(self, pools: Sequence[JudgePool]) -> None:
        self._asked = {pool: set(pool.names) for pool in pools}
        self._up: dict[JudgePool, Pools] = {}

    def start(self, reporter: Reporter) -> None:
        """Start the judges of all pools; engines come up in the background.

        Raises:
            SalusError: the judge's model is not here.
        """
        for pool in self._asked:
            first = pool.members[0]
            judge = first.recipe.judge.model_copy(update={"actors": pool.actors})
            recipe = first.recipe.model_copy(update={"judge": judge})
            self._up[pool] = spawn_shared(recipe, gather_own_judge(recipe, reporter), pool.settings(first))

    def live(self) -> tuple[JudgePool, ...]:
        """The pools that a member may still ask."""
        return tuple(pool for pool, asked in self._asked.items() if asked)

    def ended(self, name: str) -> None:
        """A member asks no more."""
        for pool, asked in self._asked.items():
            if name in asked:
                asked.remove(name)
                if not asked and pool in self._up:
                    self._up.pop(pool).close()
