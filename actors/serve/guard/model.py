"""A model as guard: what it is asked and says, and its verdicts by the scorers that judge rollouts too.

What it is shown is fenced as for every judge (`actors.judges.prompt`). Its verdict is one decode step over the words
it may say, so it can read an answer and cannot be commanded by it. Of an answer too long to be shown whole it says
nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from actors.contract.records import LABELS, PolicyRef, Record
from actors.engine.port import Engine
from actors.errors import SalusError
from actors.judges.engine import EngineScorer, shares
from actors.judges.guard_format import GUARD_OWN, GUARD_WORDS, OwnFormatScorer
from actors.judges.judge import DetailedScorer, Verdicts
from actors.judges.template import REQUEST_PREFIX
from actors.serve.guard.config import GuardConfig

# "unknown": the model gave none of its words enough probability: missing, never a guess.
Verdict = Literal["safe", "unsafe", "unknown"]


class JudgedExchange(Record):
    """One request and one answer to it, as texts."""

    request: str
    answer: str
    # The answer ended at its length limit.
    cut_off: bool = False


class GuardUnavailable(SalusError):
    """The guard could not be asked, or did not answer."""


class AnswerGuard(Protocol):
    """Whatever can say of answers whether they may go out."""

    async def judge(self, exchanges: Sequence[JudgedExchange]) -> list[Verdict]:
        """A verdict on each; raises GuardUnavailable."""


# Asks the model about the request alone, in the words of a guard.
REQUEST_PROMPT = "request-v1"
_UNSAFE = (GUARD_WORDS.index("unsafe"),)


class WholeTextScorer(EngineScorer):
    """Says nothing where it could show a text in part only: what was cut away may be what harms.

    Of the answer, or, for a template about requests alone, of the request.
    """

    def verdicts(self, requests: list[str], answers: list[str], cut_off: Sequence[bool]) -> Verdicts:
        shown = [self._prompt.shown(*row) for row in zip(requests, answers, cut_off, strict=True)]
        p, coverage = shares(self._engine.score_next([each.tokens for each in shown], self._prompt.label_tokens))
        about_request = self.prompt_version.startswith(REQUEST_PREFIX)
        whole = [each.request_whole if about_request else each.answer_whole for each in shown]
        return Verdicts(p=p, coverage=np.where(whole, coverage, 0.0))


class ModelGuard:
    """Says what an answer is by the probability of some words of a scorer.

    An answer is unsafe from the threshold on. With `request_scorer`, whose words are those of a guard, it is so only
    where the request is unsafe as well by the same threshold.
    """

    def __init__(
        self,
        scorer: DetailedScorer,
        unsafe: Sequence[int],
        threshold: float,
        min_coverage: float,
        request_scorer: DetailedScorer | None = None,
    ) -> None:
        """`unsafe`: the places of the words that say so."""
        self._scorer = scorer
        self._unsafe = list(unsafe)
        self._threshold = threshold
        self._min_coverage = min_coverage
        self._request_scorer = request_scorer

    def verdicts(self, exchanges: Sequence[JudgedExchange]) -> list[Verdict]:
        """A verdict on each, in one call of the engine (two, where the model is asked about requests too)."""
        if not exchanges:
            return []
        unsafe, known = self._ask(self._scorer, self._unsafe, exchanges)
        if self._request_scorer is not None:
            harmful, known_too = self._ask(self._request_scorer, _UNSAFE, exchanges)
            # One that is known to be safe settles it.
            known = (known & known_too) | (known & ~unsafe) | (known_too & ~harmful)
            unsafe = unsafe & harmful
        return ["unknown" if not k else "unsafe" if u else "safe" for u, k in zip(unsafe, known, strict=True)]

    def _ask(
        self, scorer: DetailedScorer, words: Sequence[int], exchanges: Sequence[JudgedExchange]
    ) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """Whether each is unsafe by a scorer, and whether it said anything."""
        requests, answers = [e.request for e in exchanges], [e.answer for e in exchanges]
        found = scorer.verdicts(requests, answers, [e.cut_off for e in exchanges])
        # Of none of its words: no verdict, whatever the minimum.
        known = (found.coverage >= self._min_coverage) & (found.coverage > 0)
        return found.p[:, list(words)].sum(axis=1) >= self._threshold, known


def model_guard(config: GuardConfig, engine: Engine, weights: PolicyRef) -> ModelGuard:
    """The guard that `config` describes, around an engine that has its weights.

    Raises:
        SalusError: as `EngineScorer`, or `OwnFormatScorer` for a guard in its own format.
    """
    unsafe: tuple[int, ...]
    scorer: DetailedScorer
    if config.prompt_version == GUARD_OWN:
        scorer, unsafe = OwnFormatScorer(engine, weights, whole_only=True), _UNSAFE
    elif config.kind == "guard":
        scorer, unsafe = WholeTextScorer(engine, config.prompt_version, weights, GUARD_WORDS), _UNSAFE
    else:
        scorer = WholeTextScorer(engine, config.prompt_version, weights)
        unsafe = tuple(LABELS.index(label) for label in config.unsafe_labels)
    by_model = config.kind == "judge" and config.screen == "model"
    asked = WholeTextScorer(engine, REQUEST_PROMPT, weights, GUARD_WORDS) if by_model else None
    return ModelGuard(scorer, unsafe, config.threshold, config.min_coverage, asked)
