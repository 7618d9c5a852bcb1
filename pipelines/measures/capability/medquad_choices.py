"""Multiple-choice questions and reference answers made of MedQuAD, for a machine that can fetch no other set.

Each question's right option is the beginning of its own answer. The wrong ones begin other topics' answers to
questions of the same type. A policy that matches the topic's words finds it, so this is far easier than MedQA. It
tells whether a policy lost what it could, not how much medicine it knows.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from actors.contract.records import Split
from actors.contract.seeds import derive_seed
from actors.errors import SalusError
from pipelines.data.fields import optional_text, text
from pipelines.data.medsafety.config import MedsafetyConfig
from pipelines.data.medsafety.prompts import benign_fractions
from pipelines.data.medsafety.sentences import first_sentences
from pipelines.data.rows import data_files, rows_of
from pipelines.data.sets.choices import ChoiceQuestion
from pipelines.data.sets.references import Reference
from pipelines.data.split import group_key, split_of

DISTRACTORS = 3


class _Question(NamedTuple):
    text: str
    # MedQuAD's focus; the question itself where there is none, as the reader of its prompts has it.
    topic: str
    kind: str | None
    # The beginning of its answer, as long as the policy's training has them.
    answer: str


def medquad_choices(config: MedsafetyConfig, split: Split, seed: int) -> list[ChoiceQuestion]:
    """Questions of the split with the right option among `DISTRACTORS` others, in MedQuAD's order.

    The options' draw and order depend on the seed and the question alone. Raises `SalusError` for data that is
    missing or bad, and where the split has too few different answers.
    """
    questions = list(_questions(config, split))
    return [_choice(question, questions, seed) for question in questions]


def medquad_references(config: MedsafetyConfig, split: Split) -> list[Reference]:
    """Questions of the split with the beginning of their answers. Raises `SalusError` for data missing or bad."""
    return [Reference(question=q.text, answer=q.answer) for q in _questions(config, split)]


def _questions(config: MedsafetyConfig, split: Split) -> Iterator[_Question]:
    """MedQuAD's questions of one split, divided by topic as the recipe's prompts are."""
    fractions = benign_fractions(config)
    for file in data_files(config.data_dir / "medquad"):
        for row in rows_of(file, ("question", "answer")):
            question = text(row, "question")
            topic = optional_text(row, "focus") or question
            if split_of(topic, fractions, config.seed) == split:
                answer = first_sentences(text(row, "answer"), config.answer_sentences, config.answer_words)
                yield _Question(question, topic, optional_text(row, "question_type"), answer)


def _choice(question: _Question, all_questions: Sequence[_Question], seed: int) -> ChoiceQuestion:
    draw = random.Random(derive_seed(seed, "options", question.text, question.answer))
    options = [question.answer, *_distractors(question, all_questions, draw)]
    draw.shuffle(options)
    return ChoiceQuestion(
        question=question.text, options=tuple(options), answer=options.index(question.answer), source="medquad"
    )


def _distractors(question: _Question, all_questions: Sequence[_Question], draw: random.Random) -> list[str]:
    """Answers about other topics, no two alike; of the question's own type as long as there are some."""
    others = [other for other in all_questions if group_key(other.topic) != group_key(question.topic)]
    draw.shuffle(others)
    others.sort(key=lambda other: other.kind != question.kind)
    found: dict[str, str] = {group_key(question.answer): question.answer}
    for other in others:
        found.setdefault(group_key(other.answer), other.answer)
        if len(found) > DISTRACTORS:
            return list(found.values())[1:]
    raise SalusError(
        f"MedQuAD's part for this split holds fewer than {DISTRACTORS} other answers to {question.text[:80]!r}; give"
        " more questions, or a larger medsafety.benign_validation_share and benign_test_share."
    )
