"""Which judged answers a person should see, the most telling first, and some at random. Pure.

A person decides most where several judges were apart. Next are answers where the judge's probabilities are spread
(their entropy), or their two largest are close (the margin). Answers of one kind are alike, so levels and methods take
turns. Labels of such answers alone would make any judge look worse than it is. So every few places one is drawn at
random among all. Those labels are fair for measuring a judge.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Protocol

from pydantic import BaseModel, ConfigDict, Field

from actors.contract.conversation import answer_key
from actors.contract.records import Label, Record
from pipelines.feedback.review.consensus import Drawn

Probabilities = tuple[float, float, float]
# Above this first choice a judge is not undecided.
SURE = 0.9


class QueueConfig(BaseModel):
    """How much of each batch of answers people are shown."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    most: int = Field(100, ge=1, description="answers of one batch (a cycle) that are shown at most")
    control_every: int = Field(5, ge=2, description="one in so many places is drawn at random")
    seed: int = Field(0, ge=0, description="of those draws")


class Reviewable(Protocol):
    """An answer that a person may be shown: judged in a run, or captured where a policy is deployed."""

    @property
    def prompt(self) -> str: ...

    @property
    def answer(self) -> str: ...

    @property
    def level(self) -> int | None:
        """Harm level 0 to 3; None where it is unknown."""

    @property
    def method(self) -> str | None: ...

    @property
    def policy(self) -> str:
        """The version that gave the answer."""

    @property
    def judge(self) -> str | None: ...

    @property
    def label(self) -> Label | None:
        """The judge's; None where it gave none."""

    @property
    def p(self) -> Probabilities | None:
        """Of Accept, Caution and Refuse, summing to 1; None where no judge judged."""

    @property
    def disagreement(self) -> float | None:
        """How far several judges were apart, 0 to 1; None where one judged alone."""

    @property
    def draw(self) -> float:
        """A uniform draw from [0, 1) that has nothing to do with the answer: the lowest are the random sample."""


class JudgedAnswer(Record):
    """One row of judgments, as a person is shown it (`Reviewable`)."""

    prompt: str
    answer: str
    level: int | None
    method: str | None
    policy: str
    judge: str | None
    label: Label | None
    p: Probabilities | None
    disagreement: float | None
    draw: float


@dataclass(frozen=True)
class Queued:
    """One place in the queue."""

    key: str
    row: Reviewable
    # How much a person's label tells: sorts ascending, most telling first.
    order: tuple[float, float, float]
    drawn: Drawn

    def why(self) -> str:
        """Why a person is asked, in one sentence."""
        row = self.row
        if self.drawn == "control":
            return "Drawn at random, so that the judge is also checked where it is sure."
        if row.p is None or row.label is None:
            return "No judge gave a usable label."
        if row.disagreement:
            return f"The judges are apart by {row.disagreement:.2f} (0: of one mind, 1: opposed)."
        best, second = sorted(row.p, reverse=True)[:2]
        if best > SURE:
            return "Next in turn of its harm level and method; the judge is sure of it."
        return f"The judge is undecided: its first choice has {best:.0%}, its second {second:.0%}."


def informative_order(p: Probabilities | None, disagreement: float | None) -> tuple[float, float, float]:
    """Sorts ascending, the most telling first: by disagreement, then entropy (share of its most), then margin.

    No verdict counts as evenly spread. Rounded, so that the last bits of a machine's logarithm decide nothing.
    """
    spread = p or (1 / 3, 1 / 3, 1 / 3)
    entropy = -sum(x * math.log(x) for x in spread if x > 0) / math.log(len(spread))
    best, second = sorted(spread, reverse=True)[:2]
    return -round(disagreement or 0.0, 2), -round(entropy, 4), round(best - second, 4)


def build_queue(rows: Iterable[Reviewable], config: QueueConfig) -> list[Queued]:
    """The answers of one batch in the order people see them, each once; the same for the same rows in any order.

    Answers that are labelled already are among them, because what is labelled must not change what else is chosen.
    The page that shows them leaves those out (`waiting`).
    """
    unique = _unique(rows)
    control_count = min(config.most, len(unique)) // config.control_every
    control = sorted(unique, key=lambda each: (each.row.draw, each.key))[:control_count]
    chosen = {each.key for each in control}
    telling = _in_turns([each for each in unique if each.key not in chosen])[: config.most - len(control)]
    drawn = [Queued(each.key, each.row, each.order, "control") for each in control]
    return _mixed(telling, drawn, config.control_every)


def waiting(queue: Sequence[Queued], labelled: set[str]) -> list[Queued]:
    """Those without a label yet, in order."""
    return [each for each in queue if each.key not in labelled]


def _unique(rows: Iterable[Reviewable]) -> list[Queued]:
    """One place for each answer to each prompt: of equals that judged most tellingly, which then sorts alike."""
    best: dict[str, Queued] = {}
    for row in rows:
        key = answer_key(row.prompt, row.answer)
        each = Queued(key, row, informative_order(row.p, row.disagreement), "informative")
        known = best.get(key)
        if known is None or _total(each) < _total(known):
            best[key] = each
    return sorted(best.values(), key=_total)


def _total(each: Queued) -> tuple[object, ...]:
    """An order in which only equal rows are equal."""
    return (*each.order, each.key, each.row.draw, each.row.policy)


def _in_turns(ordered: Sequence[Queued]) -> list[Queued]:
    """Round by round the next of each cluster (harm level and method), the most telling of a round first."""
    clusters: dict[tuple[int | None, str | None], list[Queued]] = {}
    for each in ordered:
        clusters.setdefault((each.row.level, each.row.method), []).append(each)
    rounds = zip_longest(*clusters.values())
    return [each for turn in rounds for each in sorted((e for e in turn if e is not None), key=_total)]


def _mixed(telling: Sequence[Queued], drawn: Sequence[Queued], every: int) -> list[Queued]:
    """A randomly drawn one in each `every`-th place while there are any; the rest follows."""
    mixed: list[Queued] = []
    first, second = iter(telling), iter(drawn)
    while len(mixed) < len(telling) + len(drawn):
        turns = (second, first) if len(mixed) % every == every - 1 else (first, second)
        each = next(turns[0], None) or next(turns[1], None)
        if each is not None:
            mixed.append(each)
    return mixed
