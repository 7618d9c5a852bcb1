"""Answers side by side: what the page /answers asks for and shows, and the port it comes through."""

from __future__ import annotations

from typing import Literal, Protocol

from pydantic import Field

from actors.contract.records import Label, PromptSet, Record

# any: all prompts. labels: the two policies' labels are not the same. judges: several judges were far apart.
Disagreement = Literal["any", "labels", "judges"]


class AnswersAsked(Record):
    """Which answers are wanted; a policy that is not named is chosen."""

    prompts: PromptSet = "validation"
    left: str = ""
    right: str = ""
    level: int | None = None
    method: str = ""
    # Of either answer.
    label: Label | None = None
    disagreement: Disagreement = "any"
    page: int = Field(1, ge=1)


class ShownAnswer(Record):
    """One policy's answer, and what the judge said of it."""

    answer: str
    label: Label | None
    # Of each label; None where the judge gives none.
    p: dict[Label, float] | None
    # How far several judges were apart, 0 to 1; None where one judged alone.
    disagreement: float | None
    cut_off: bool


class ComparedAnswers(Record):
    """One prompt with the answers of both policies; None where a policy has none."""

    prompt_id: str
    prompt: str
    level: int
    method: str
    left: ShownAnswer | None
    right: ShownAnswer | None


class AnswersShown(Record):
    """One page of answers, and what else may be asked for."""

    # With the policies that are shown, which may have been chosen.
    asked: AnswersAsked
    sets: tuple[PromptSet, ...]
    policies: tuple[str, ...]
    methods: tuple[str, ...]
    # Prompts that fit, and pages of them.
    total: int
    pages: int
    rows: tuple[ComparedAnswers, ...]


class AnswersSource(Protocol):
    """Where the answers come from."""

    async def answers(self, asked: AnswersAsked) -> AnswersShown:
        """One page of answers; SalusError where a file of the run cannot be read."""
