"""Several judges as one: the mean of their probabilities or their vote, and how far they were apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from actors.contract.records import LABELS, PolicyRef
from actors.errors import SalusError
from actors.judges.judge import DetailedScorer, Scorer, Verdicts, ask
from actors.judges.usage import Usage

How = Literal["vote", "mean"]
Floats = npt.NDArray[np.float64]

# Weight of the mean probability beside the votes: it decides between equal votes and never outweighs one.
TIE_WEIGHT = 1e-3
_MOST_SCORERS = 100


class EnsembleScorer(DetailedScorer):
    """Asks every scorer about every answer.

    `mean`: the mean of their probabilities. `vote`: each scorer's likeliest label is its vote, and the votes' shares
    are the probabilities, ties broken by the mean. A scorer without coverage of an answer has no say in it; the
    coverage is the mean over all, so that a missing voice shows.

    Raises:
        SalusError: no scorers, or more than votes can be told apart for.
    """

    def __init__(self, scorers: Sequence[Scorer], how: How) -> None:
        if not 1 <= len(scorers) <= _MOST_SCORERS:
            raise SalusError(f"An ensemble needs 1 to {_MOST_SCORERS} judges, not {len(scorers)}; set judge.ensemble.")
        self._scorers = tuple(scorers)
        self._how = how

    @property
    def name(self) -> str:
        return "+".join(scorer.name for scorer in self._scorers)

    @property
    def prompt_version(self) -> str:
        return "+".join(dict.fromkeys(scorer.prompt_version for scorer in self._scorers))

    def load(self, policy: PolicyRef) -> None:
        for scorer in self._scorers:
            scorer.load(policy)

    def verdicts(self, requests: list[str], answers: list[str], cut_off: Sequence[bool]) -> Verdicts:
        """Pooled scores; `disagreement` as in `disagreement`, 0 where fewer than two scorers had a say."""
        each = [ask(scorer, requests, answers, cut_off) for scorer in self._scorers]
        p = np.stack([verdicts.p for verdicts in each])
        coverage = np.stack([verdicts.coverage for verdicts in each])
        has_say = coverage > 0
        used = [verdicts.usage for verdicts in each if verdicts.usage is not None]
        return Verdicts(
            p=pool(p, has_say, self._how),
            coverage=coverage.mean(axis=0),
            disagreement=disagreement(p, has_say),
            usage=sum(used, Usage()) if used else None,
            # One of them at most is a guard: the others need no model.
            unsafe=next((verdicts.unsafe for verdicts in each if verdicts.unsafe is not None), None),
        )


def pool(p: Floats, has_say: npt.NDArray[np.bool_], how: How) -> Floats:
    """Scorers' probabilities (m, n, 3) and who has a say (m, n) -> pooled (n, 3), rows summing to 1.

    Where no judge has a say every label is as likely as another.
    """
    mean = _mean(p, has_say)
    if how == "mean":
        return mean
    votes = _mean(np.eye(len(LABELS))[p.argmax(axis=2)], has_say)
    return (votes + TIE_WEIGHT * mean) / (1 + TIE_WEIGHT)


def disagreement(p: Floats, has_say: npt.NDArray[np.bool_]) -> Floats:
    """Mean total variation distance over the pairs of scorers with a say, shape (n,), from 0 to 1.

    Half the summed difference of two distributions; among scorers that are sure of their labels, the share of pairs
    that name different ones.
    """
    m, n = has_say.shape
    apart, pairs = np.zeros(n), np.zeros(n)
    for i in range(m):
        for j in range(i + 1, m):
            both = has_say[i] & has_say[j]
            apart += both * np.abs(p[i] - p[j]).sum(axis=1) / 2
            pairs += both
    share: Floats = apart / np.maximum(pairs, 1)
    return share


def _mean(values: Floats, has_say: npt.NDArray[np.bool_]) -> Floats:
    weight = has_say[:, :, None].astype(np.float64)
    voices = weight.sum(axis=0)
    mean: Floats = (values * weight).sum(axis=0) / np.maximum(voices, 1)
    pooled: Floats = np.where(voices > 0, mean, 1 / len(LABELS))
    return pooled
