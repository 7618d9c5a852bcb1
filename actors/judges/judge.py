"""Judge: rollouts in, judgments out. The label's probabilities come from one decode step, so nothing is parsed.

An empty answer is Refuse by rule, and shown to a model as a visible mark. An answer cut off at its length limit is
judged by what there is of it. A model whose template has a place for it is told so.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from actors.contract.conversation import transcripts
from actors.contract.records import CUT_OFF, JUDGMENT_SCHEMA, LABELS, ROLLOUT_SCHEMA, UNFINISHED_THOUGHT, PolicyRef
from actors.contract.span import Span, instant
from actors.files.shards import read_shard, strings, write_table
from actors.judges.usage import Usage, write_usage

# The prompt version in judgments where a judge fills no template.
NO_PROMPT = "none"
# Requests and answers in, probabilities (rows, 3) in the order of LABELS and coverage (rows,) out.
Scores = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]


class JudgmentTask(BaseModel):
    """One shard of rollouts to judge: where its files are, where the judgments go, and whose weights judge.

    `weights` names the policy that judges itself (regimen SELF); None leaves the judge's own. `system` is the deployed
    policy's system prompt, which the judge reads before each conversation; None: it is not shown one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rollouts: str
    output: str
    weights: PolicyRef | None = None
    system: str | None = None


class Scorer(Protocol):
    """Whatever can give every label's probability for a batch of answers."""

    @property
    def name(self) -> str: ...

    @property
    def prompt_version(self) -> str: ...

    def score(self, requests: list[str], answers: list[str]) -> Scores:
        """Label probabilities, shape (n, 3), rows summing to 1, and coverage, shape (n,); 0 where it gave no label."""

    def load(self, policy: PolicyRef) -> None:
        """Judge with these weights from now on."""


@dataclass(frozen=True)
class Verdicts:
    """Scores of n answers, and what else some scorers know of them."""

    p: npt.NDArray[np.float64]
    coverage: npt.NDArray[np.float64]
    # Shape (n,), where several judges were asked: see `EnsembleScorer`.
    disagreement: npt.NDArray[np.float64] | None = None
    # What these answers cost, where a server charges for them.
    usage: Usage | None = None
    # Shape (n,), where a guard was asked: the probability that the answer is unsafe.
    unsafe: npt.NDArray[np.float64] | None = None

    def best(self, min_coverage: float) -> list[int | None]:
        """The likeliest word of each answer; None, missing and never a guess, where coverage is under the minimum."""
        # A judge that gave no word at all gave none, whatever the minimum.
        usable = (self.coverage >= min_coverage) & (self.coverage > 0)
        likeliest = self.p.argmax(axis=1) if len(self.p) else ()
        return [int(word) if ok else None for word, ok in zip(likeliest, usable, strict=True)]


@runtime_checkable
class DetailedScorer(Protocol):
    """A scorer that also takes note of answers cut off, or says more than scores.

    Beside `Scorer` and not in it, so that a rule, or whatever wraps a scorer, may stay as simple as it is.
    """

    def verdicts(self, requests: list[str], answers: list[str], cut_off: Sequence[bool]) -> Verdicts:
        """Scores and what else is known; `cut_off[i]`: answer i ended at its length limit."""

    def score(self, requests: list[str], answers: list[str]) -> Scores:
        """As `Scorer.score`; inherited by a class that names this protocol as its base."""
        found = self.verdicts(requests, answers, [False] * len(answers))
        return found.p, found.coverage


@runtime_checkable
class PromptedScorer(Protocol):
    """A scorer whose model follows any template."""

    def asking(self, prompt_version: str, words: Sequence[str]) -> Scorer:
        """A scorer by the same model whose template asks for one of these words; p then has a column for each."""


def ask(scorer: Scorer, requests: list[str], answers: list[str], cut_off: Sequence[bool]) -> Verdicts:
    """All that a scorer can say of some answers."""
    if isinstance(scorer, DetailedScorer):
        return scorer.verdicts(requests, answers, cut_off)
    return Verdicts(*scorer.score(requests, answers))


def judged(scorer: Scorer, rollouts: pa.Table, system: str | None = None) -> Verdicts:
    """The same of some rollouts (`ROLLOUT_SCHEMA`), each read with its whole conversation.

    A thought that never ended is no answer, so there is no verdict on it.
    """
    reasons = strings(rollouts, "finish_reason")
    found = ask(
        scorer,
        list(transcripts(rollouts, system)),
        strings(rollouts, "answer"),
        [reason == CUT_OFF for reason in reasons],
    )
    answered = np.array([reason != UNFINISHED_THOUGHT for reason in reasons], dtype=bool)
    return replace(found, coverage=np.where(answered, found.coverage, 0.0))


class Judge:
    """Labels answers with one warm scorer.

    Life: `Judge(scorer, min_coverage)` -> `label(rollouts, task)`*
    """

    def __init__(self, scorer: Scorer, min_coverage: float) -> None:
        self._scorer = scorer
        self._min_coverage = min_coverage

    def ready(self) -> None:
        """Answers once the engine is up and warm: the first judgment compiles kernels."""
        self._scorer.score([""], [""])

    def label(self, rollouts: pa.Table | None, task: JudgmentTask) -> Span:
        """Judge one shard of rollouts and write `JUDGMENT_SCHEMA` rows to `task.output`.

        Without a table the shard is read from `task.rollouts`. A row whose coverage is under the judge's
        minimum has no label: missing, never a guess. A shard already on disk is not judged again. What a
        charged judge used is beside the shard (`actors.judges.usage`).
        Returns when the scorer worked.
        """
        path = Path(task.output)
        if path.is_file():
            return instant(path)
        if rollouts is None:
            rollouts = read_shard(Path(task.rollouts), ROLLOUT_SCHEMA)
        start = time.time()
        if task.weights is not None:
            self._scorer.load(task.weights)
        found = judged(self._scorer, rollouts, task.system)
        end = time.time()
        table = self._judgments(rollouts, found)
        if found.usage is not None:
            write_usage(found.usage, path)
        write_table(table, path)
        return Span(start_s=start, end_s=end, rows=table.num_rows)

    def _judgments(self, rollouts: pa.Table, found: Verdicts) -> pa.Table:
        n = rollouts.num_rows
        labels = [LABELS[best] if best is not None else None for best in found.best(self._min_coverage)]
        disagreement = found.disagreement if found.disagreement is not None else [None] * n
        columns: dict[str, Any] = {
            **{name: rollouts[name] for name in ROLLOUT_SCHEMA.names},
            "judge": pa.array([self._scorer.name] * n, pa.string()),
            "judge_prompt": pa.array([self._scorer.prompt_version] * n, pa.string()),
            "label": pa.array(labels, pa.string()),
            **{f"p_{label.lower()}": pa.array(found.p[:, i], pa.float32()) for i, label in enumerate(LABELS)},
            "coverage": pa.array(found.coverage, pa.float32()),
            "disagreement": pa.array(disagreement, pa.float32()),
            "p_unsafe": pa.array(found.unsafe if found.unsafe is not None else [None] * n, pa.float32()),
        }
        return pa.table(columns, schema=JUDGMENT_SCHEMA)
