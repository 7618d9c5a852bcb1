"""The pools by turns: engines are opened for what is due and then end, or sleep, so that others have their devices."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from actors.contract.records import PolicyRef
from pipelines.cluster.demand import Part
from pipelines.cluster.pools import EnginePools, Pools, Waits, spawn
from pipelines.cluster.turns.division import judged_beside, slept
from pipelines.config.recipe import Recipe


class TurnPools:
    """Generators and judges of a run by turns.

    Both are up at once where the GPUs hold both. Otherwise generators end before judges are opened, and the other way
    round.

    Life: `TurnPools(...)` -> ((`generators` | `judges` | `passes`)* -> `rest`)* -> `close`
    """

    stay_up = False

    def __init__(self, recipe: Recipe, policy: PolicyRef, judge: PolicyRef | None, starts: Collection[Part]) -> None:
        """`recipe` is divided; `policy` and `judge` are what engines begin with; `starts`: generate, judge, or both."""
        self._recipe = recipe
        self._models = (policy, judge)
        self._starts = frozenset(starts)
        self._beside = judged_beside(recipe)
        self._sleeps = slept(recipe)
        self._up = Pools((), ())

    # By turns no actors are shared: they end while others have their turn.
    waits = Waits()

    @property
    def labels(self) -> bool:
        return "judge" in self._starts

    @property
    def generators(self) -> Sequence[Any]:
        self._open("generate")
        return self._up.generators

    @property
    def judges(self) -> Sequence[Any]:
        self._open("judge")
        return self._up.judges

    def passes(self) -> Iterator[tuple[Sequence[Any], Sequence[Any]]]:
        if self._beside:
            self._open("generate", "judge")
            yield self._up.generators, self._up.judges
            return
        for part in ("generate", "judge"):
            if part in self._starts:
                self._open(part)
                yield self._up.generators, self._up.judges

    def rest(self) -> None:
        """Engines sleep where they can, so that they need not start anew; else they end."""
        if self._sleeps and self._up.sleep():
            return
        self.leave()

    def forget(self) -> None:
        self._up.forget()

    def leave(self) -> None:
        self._up.leave()
        self._up = Pools((), ())

    def wait(self, timeout_s: float) -> None:
        """Nothing: what is opened is waited for then."""

    def close(self) -> None:
        self._up.close()
        self._up = Pools((), ())

    def _open(self, *parts: str) -> None:
        """Have these pools up, and with them the other where both have room; returns when their engines are."""
        wanted = self._starts if self._beside else self._starts.intersection(parts)
        generate = "generate" in wanted and not self._up.generators
        label = "judge" in wanted and not self._up.judges
        if not generate and not label:
            return
        self.leave()
        opened = spawn(self._recipe, *self._models, "generate" in wanted, "judge" in wanted)
        # Before the wait, so that they end with the run where one of them does not come up.
        self._up = opened
        opened.wait(self._recipe.cluster.wait_s)


def open_pools(
    recipe: Recipe, policy: PolicyRef, judge: PolicyRef | None, starts: Collection[Part] = ("generate", "judge")
) -> EnginePools:
    """The pools that a run or a step asks: started now, or by turns when they are first asked.

    Args:
        recipe: the run's, divided where it is by turns.
        policy: what engines begin with, before a task names another.
        judge: the judge's own weights, where it has some.
        starts: the parts of the run that are started; pools are those of generate and judge.
    """
    if recipe.cluster.placement == "by_turns":
        return TurnPools(recipe, policy, judge, starts)
    return spawn(recipe, policy, judge, "generate" in starts, "judge" in starts, recipe.cluster)
