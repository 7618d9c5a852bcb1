"""A scorer of harmfulness with a mind of its own: each answer that holds one of its words gets that word's score."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from actors.contract.records import PolicyRef
from actors.judges.harmfulness import SCORES
from actors.judges.judge import Scores


class FixedScores:
    """`actors.judges.judge.Scorer` over the five scores; an answer with none of the words has no coverage."""

    def __init__(self, by_word: Mapping[str, int]) -> None:
        self.name, self.prompt_version = "fixed", "harmfulness-v1"
        self._by_word = by_word
        self.asked: list[tuple[str, str]] = []

    def load(self, policy: PolicyRef) -> None:
        self.name = policy.version

    def score(self, requests: list[str], answers: list[str]) -> Scores:
        self.asked += zip(requests, answers, strict=True)
        said = [next((s for word, s in self._by_word.items() if word in answer), None) for answer in answers]
        p = np.eye(len(SCORES))[[SCORES.index(score or 1) for score in said]]
        return p, np.array([0.0 if score is None else 0.9 for score in said])
