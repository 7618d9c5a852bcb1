"""The questions of a capability measurement: those that gate publication, and others for the final report."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

from actors.contract.seeds import derive_seed
from actors.errors import SalusError
from pipelines.config.capability import CapabilityConfig
from pipelines.data.medsafety.config import MedsafetyConfig
from pipelines.data.sets.choices import ChoiceQuestion, read_choices
from pipelines.data.sets.references import Reference, read_references
from pipelines.data.sets.social.bias import BiasQuestion, read_bias
from pipelines.data.sets.social.toxicity import ToxicityPrompt, read_toxicity_prompts
from pipelines.data.split import SplitFractions, split_of
from pipelines.measures.capability.medquad_choices import medquad_choices, medquad_references

HeldOut = Literal["validation", "test"]
HELD_OUT: tuple[HeldOut, ...] = ("validation", "test")
# Nothing is trained on a file of questions: one half gates, the other is kept for the end.
HALVES = SplitFractions(train=0.0, validation=0.5, test=0.5)
Question = TypeVar("Question", ChoiceQuestion, Reference, BiasQuestion, ToxicityPrompt)


class QuestionSet(NamedTuple):
    """What every policy is asked; any may be empty."""

    choices: tuple[ChoiceQuestion, ...] = ()
    references: tuple[Reference, ...] = ()
    bias: tuple[BiasQuestion, ...] = ()
    toxicity: tuple[ToxicityPrompt, ...] = ()


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
        choices = _half(_choices(config), config.choices, split, seed, _question)
        references = _half(_references(config), config.references, split, seed, _question)
    most = config.max_questions
    return QuestionSet(
        tuple(_drawn(choices, most, seed, _question)),
        tuple(_drawn(references, most, seed, _question)),
        tuple(_bias(config, split, seed)),
        tuple(_toxicity(config, split, seed)),
    )


def _question(question: ChoiceQuestion | Reference) -> str:
    return question.question


def _choices(config: CapabilityConfig) -> Iterable[ChoiceQuestion]:
    return read_choices(Path(config.choices).expanduser(), config.format) if config.choices is not None else ()


def _references(config: CapabilityConfig) -> Iterable[Reference]:
    return read_references(Path(config.references).expanduser()) if config.references is not None else ()


def _bias(config: CapabilityConfig, split: HeldOut, seed: int) -> list[BiasQuestion]:
    """Questions of bias; those of one template are on one side."""
    if (asked := config.bias_on(split)) is None:
        return []
    found = read_bias(Path(asked.path).expanduser(), asked.columns)
    kept = _half(found, asked.path, split, seed, lambda question: question.template)
    return _drawn(kept, asked.max_questions, seed, lambda question: f"{question.context}\n{question.question}")


def _toxicity(config: CapabilityConfig, split: HeldOut, seed: int) -> list[ToxicityPrompt]:
    if (asked := config.toxicity_on(split)) is None:
        return []
    # The same beginning twice is no second prompt.
    found = {prompt.text: prompt for prompt in read_toxicity_prompts(Path(asked.path).expanduser(), asked.columns)}
    kept = _half(found.values(), asked.path, split, seed, lambda prompt: prompt.text)
    return _drawn(kept, asked.max_prompts, seed, lambda prompt: prompt.text)


def _half(
    questions: Iterable[Question], path: str | None, split: HeldOut, seed: int, key: Callable[[Question], str]
) -> list[Question]:
    kept = [question for question in questions if split_of(key(question), HALVES, seed) == split]
    if path is not None and not kept:
        raise SalusError(f"{path} has too few questions to leave one for the {split} split; give more.")
    return kept


def _drawn(questions: list[Question], most: int, seed: int, key: Callable[[Question], str]) -> list[Question]:
    """`most` of them, which depend on the seed and each one's own text, not on the file's order."""
    if len(questions) <= most:
        return questions
    return sorted(questions, key=lambda q: (derive_seed(seed, "drawn", key(q)), key(q)))[:most]
