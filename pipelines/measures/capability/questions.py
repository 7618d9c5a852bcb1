"""The questions of a capability measurement: those that gate publication, and others for the final report."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

from actors.contract.seeds import derive_seed
from actors.errors import SalusError
from pipelines.config.capability import CapabilityConfig
from pipelines.data.medsafety.config import MedsafetyConfig
from pipelines.data.sets.choices import ChoiceQuestion, read_choices
from pipelines.data.sets.references import Reference, read_references
from pipelines.data.split import SplitFractions, split_of
from pipelines.measures.capability.medquad_choices import medquad_choices, medquad_references

HeldOut = Literal["validation", "test"]
HELD_OUT: tuple[HeldOut, ...] = ("validation", "test")
# Nothing is trained on a file of questions: one half gates, the other is kept for the end.
HALVES = SplitFractions(train=0.0, validation=0.5, test=0.5)
Question = TypeVar("Question", ChoiceQuestion, Reference)


class QuestionSet(NamedTuple):
    """What every policy is asked; either may be empty."""

    choices: tuple[ChoiceQuestion, ...] = ()
    references: tuple[Reference, ...] = ()


def question_set(config: CapabilityConfig, medsafety: MedsafetyConfig, split: HeldOut, seed: int) -> QuestionSet:
    """The questions of one split, at most `max_questions` of each kind, drawn by the seed.

    A file's questions are divided by the hash of seed and question. MedQuAD's are divided by topic, as the real-text
    recipe's prompts are, so that none was pretrained on or trained on.

    Raises:
        SalusError: a file that is missing, bad, or too small to leave a question in this split.
    """
    if config.source == "medquad":
        choices = medquad_choices(medsafety, split, seed)
        references = medquad_references(medsafety, split)
    else:
        choices = _half(_choices(config), config.choices, split, seed)
        references = _half(_references(config), config.references, split, seed)
    most = config.max_questions
    return QuestionSet(tuple(_drawn(choices, most, seed)), tuple(_drawn(references, most, seed)))


def _choices(config: CapabilityConfig) -> Iterable[ChoiceQuestion]:
    return read_choices(Path(config.choices).expanduser(), config.format) if config.choices is not None else ()


def _references(config: CapabilityConfig) -> Iterable[Reference]:
    return read_references(Path(config.references).expanduser()) if config.references is not None else ()


def _half(questions: Iterable[Question], path: str | None, split: HeldOut, seed: int) -> list[Question]:
    kept = [question for question in questions if split_of(question.question, HALVES, seed) == split]
    if path is not None and not kept:
        raise SalusError(f"{path} has too few questions to leave one for the {split} split; give more.")
    return kept


def _drawn(questions: list[Question], most: int, seed: int) -> list[Question]:
    """`most` of them, which depend on the seed and each one's own text, not on the file's order."""
    if len(questions) <= most:
        return questions
    return sorted(questions, key=lambda q: (derive_seed(seed, "drawn", q.question), q.question))[:most]
