"""All that a run knows of one prompt: what `salus runs explain` prints and the page /answers opens, and its port."""

from __future__ import annotations

from typing import Protocol

from actors.contract.records import ChallengerName, Label, Prompt, PromptSet, Record, RowKind


class ExplainedAnswer(Record):
    """One answer to the prompt with one judge's label."""

    policy: str
    # Of a train prompt; None: a greedy answer of an evaluation.
    cycle: int | None
    sample: int
    answer: str
    judge: str
    label: Label | None
    # Of each label in the order of `LABELS`; None where the judge gives none.
    probabilities: tuple[float, float, float] | None
    # How far several judges were apart, 0 to 1; None where one judged alone.
    disagreement: float | None
    # Of people who reviewed it, before the cycle's rows were made: how many gave this label, of how many.
    people: str | None


class TrustedLabel(Record):
    """The reference's label of a contender's answer, where the prompt was drawn as a control."""

    cycle: int
    contender: str
    policy: str
    judge_label: Label | None
    reference_label: Label | None
    reference: str


class WeightInDecision(Record):
    """What a decision made of the prompt for one challenger."""

    cycle: int
    contender: ChallengerName
    policy: str
    # Marks of champion and challenger by the decision's score table; None where an answer has no label.
    champion_mark: float | None
    mark: float | None
    # The prompt's part of the challenger's gain in SS: the difference of the marks over the prompts compared.
    share_of_gain: float | None
    chosen: bool


class NearRow(Record):
    """A training row whose prompt is near."""

    cycle: int
    kind: RowKind
    # Cosine of the embeddings, -1 to 1.
    similarity: float
    level: int | None
    prompt: str
    # "chosen" and "rejected", or "desirable" or "undesirable" with the answer.
    texts: tuple[tuple[str, str], ...]


class Explanation(Record):
    """One prompt in a run."""

    prompt: Prompt
    prompts: PromptSet
    answers: tuple[ExplainedAnswer, ...]
    trusted: tuple[TrustedLabel, ...]
    decisions: tuple[WeightInDecision, ...]
    nearest: tuple[NearRow, ...]


class ExplanationSource(Protocol):
    """Where explanations come from."""

    async def explained(self, prompt_id: str, nearest: int) -> Explanation:
        """What is known of a prompt, with so many of the nearest training prompts; SalusError where there is none."""
