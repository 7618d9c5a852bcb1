"""A language model as judge, over the inference port: the words' probabilities at the first token of its answer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from actors.contract.records import LABELS, PolicyRef
from actors.engine.port import Engine
from actors.judges.judge import DetailedScorer, Scores, Verdicts
from actors.judges.prompt import JudgePrompt


def shares(log_p: npt.NDArray[np.float64]) -> Scores:
    """Log-probabilities of the words asked for, shape (n, words) -> their shares, rows summing to 1, and their sum."""
    shifted = np.exp(log_p - log_p.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True), np.exp(log_p).sum(axis=1)


class EngineScorer(DetailedScorer):
    """A language model as judge.

    The probabilities are the softmax over the labels' first tokens of the model's next-token distribution. A decoder
    constrained to the three labels would draw from them. Their unconstrained sum is the coverage.

    Raises:
        SalusError: there is no such template, or two words begin with the same token of the model's tokenizer.
    """

    def __init__(self, engine: Engine, template: str, policy: PolicyRef, words: Sequence[str] = LABELS) -> None:
        self._policy = policy
        self._engine = engine
        self._prompt = JudgePrompt(template, engine.tokenizer, engine.max_model_len - 1, words)
        self.prompt_version = self._prompt.version

    @property
    def name(self) -> str:
        return self._policy.version

    def asking(self, prompt_version: str, words: Sequence[str]) -> EngineScorer:
        """As `PromptedScorer.asking`, by the same engine."""
        return EngineScorer(self._engine, prompt_version, self._policy, words)

    def load(self, policy: PolicyRef) -> None:
        self._engine.load(policy)
        self._policy = policy

    def verdicts(self, requests: list[str], answers: list[str], cut_off: Sequence[bool]) -> Verdicts:
        tokens = [self._prompt.tokens(*row) for row in zip(requests, answers, cut_off, strict=True)]
        return Verdicts(*shares(self._engine.score_next(tokens, self._prompt.label_tokens)))
