"""What reviewers say of each answer once all is replayed, and what they agree on. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from actors.contract.records import LABELS, Label, Record

# informative: shown because it tells most; control: drawn at random, so fair for measuring a judge.
Drawn = Literal["informative", "control"]


@dataclass(frozen=True, slots=True)
class Vote:
    """One reviewer's label of one answer."""

    key: str
    prompt: str
    answer: str
    label: Label
    reviewer: str
    drawn: Drawn
    # What the reviewer wrote beside it; empty where nothing.
    comment: str = ""


class Gold(Record):
    """An answer whose reviewers have a majority: more of them gave this label than any other."""

    key: str
    prompt: str
    answer: str
    label: Label
    # Reviewers who gave it, and all who labelled the answer.
    votes: int
    reviewers: int
    drawn: Drawn
    # Of all its reviewers, in the order of their labels.
    comments: tuple[str, ...] = ()


class Tie(Record):
    """An answer whose reviewers are of as many minds as there are leading labels; it counts for nothing."""

    key: str
    prompt: str
    answer: str
    votes: dict[Label, int]


class Settled(Record):
    """All labelled answers, in the order they were first labelled in."""

    gold: tuple[Gold, ...]
    ties: tuple[Tie, ...]

    def labels(self) -> dict[str, Label]:
        """The agreed label of each answer, by its key."""
        return {each.key: each.label for each in self.gold}


class Standing:
    """Every reviewer's labels, the last of which counts. Life: (`give` | `take_back`)*."""

    def __init__(self) -> None:
        # By answer and reviewer, oldest first.
        self._votes: dict[str, dict[str, list[Vote]]] = {}
        # By reviewer: the answers in the order of labelling, for undoing.
        self._order: dict[str, list[str]] = {}

    def give(self, vote: Vote) -> None:
        self._votes.setdefault(vote.key, {}).setdefault(vote.reviewer, []).append(vote)
        self._order.setdefault(vote.reviewer, []).append(vote.key)

    def take_back(self, reviewer: str, key: str) -> bool:
        """Undo the reviewer's last label; False where that is not of this answer. An earlier one then counts again."""
        if [vote.key for vote in self.last_of(reviewer)] != [key]:
            return False
        self._order[reviewer].pop()
        given = self._votes[key][reviewer]
        given.pop()
        if not given:
            del self._votes[key][reviewer]
        if not self._votes[key]:
            del self._votes[key]
        return True

    def last_of(self, reviewer: str) -> list[Vote]:
        """The label the reviewer gave last, if any."""
        order = self._order.get(reviewer)
        return [self._votes[order[-1]][reviewer][-1]] if order else []

    def vote_of(self, reviewer: str, key: str) -> Vote | None:
        """What a reviewer says of an answer."""
        given = self._votes.get(key, {}).get(reviewer)
        return given[-1] if given else None

    def label_of(self, reviewer: str, key: str) -> Label | None:
        """The label a reviewer gave an answer."""
        vote = self.vote_of(reviewer, key)
        return vote.label if vote is not None else None

    def labelled_by(self, reviewer: str) -> list[str]:
        """The answers a reviewer labelled, each once, in the order in which they were first labelled."""
        return list(dict.fromkeys(self._order.get(reviewer, ())))

    def votes(self, key: str) -> list[Vote]:
        """The vote that counts of each reviewer of an answer."""
        return [given[-1] for given in self._votes.get(key, {}).values()]

    def answers(self) -> Iterator[list[Vote]]:
        """The votes of every labelled answer."""
        return (self.votes(key) for key in self._votes)

    def keys(self) -> set[str]:
        """The answers that have a label."""
        return set(self._votes)


def majority(votes: list[Vote]) -> Label | None:
    """The label more reviewers gave than any other; None where two lead or no reviewer voted."""
    counts = Counter(vote.label for vote in votes).most_common(2)
    if not counts or (len(counts) == 2 and counts[0][1] == counts[1][1]):
        return None
    return counts[0][0]


def settle(standing: Standing) -> Settled:
    """Majorities and ties of all labelled answers."""
    gold: list[Gold] = []
    ties: list[Tie] = []
    for votes in standing.answers():
        first, label = votes[0], majority(votes)
        counts = Counter(vote.label for vote in votes)
        if label is None:
            split = {name: counts[name] for name in LABELS if counts[name]}
            ties.append(Tie(key=first.key, prompt=first.prompt, answer=first.answer, votes=split))
            continue
        drawn: Drawn = "control" if any(vote.drawn == "control" for vote in votes) else "informative"
        gold.append(
            Gold(
                key=first.key,
                prompt=first.prompt,
                answer=first.answer,
                label=label,
                votes=counts[label],
                reviewers=len(votes),
                drawn=drawn,
                comments=tuple(vote.comment for vote in votes if vote.comment),
            )
        )
    return Settled(gold=tuple(gold), ties=tuple(ties))
