"""Which questions are asked: halves of a file, MedQuAD's held-out topics, and no question that was trained on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from actors.errors import SalusError
from pipelines.config.capability import CapabilityConfig, CapabilityLimits
from pipelines.data.medsafety.config import MedsafetyConfig
from pipelines.data.medsafety.prompts import medsafety_prompts
from pipelines.data.sets.choices import ChoiceQuestion
from pipelines.measures.capability.medquad_choices import medquad_choices, medquad_references
from pipelines.measures.capability.questions import HELD_OUT, QuestionSet, question_set

MEDQUAD = CapabilityConfig(source="medquad")
KINDS = ("information", "causes")


def write_lines(path: Path, rows: list[dict[str, Any]]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def files(tmp_path: Path, questions: int = 40, **settings: Any) -> CapabilityConfig:
    choices = [
        {"question": f"Which drug {i}?", "options": {"A": "one", "B": "two"}, "answer_idx": "B"}
        for i in range(questions)
    ]
    answers = [{"question": f"What is {i}?", "answer": f"It is {i}."} for i in range(questions)]
    return CapabilityConfig(
        choices=write_lines(tmp_path / "choices.jsonl", choices),
        references=write_lines(tmp_path / "references.jsonl", answers),
        **settings,
    )


@pytest.fixture
def medquad(tmp_path: Path) -> MedsafetyConfig:
    """120 questions about 60 topics, of two types."""
    rows = [
        {
            "question": f"What {kind} has topic {i}?",
            "answer": f"Topic {i} is known for its {kind}. It is mild.",
            "focus": f"topic {i}",
            "question_type": kind,
        }
        for i in range(60)
        for kind in KINDS
    ]
    write_lines(tmp_path / "data" / "medquad" / "medquad.jsonl", rows)
    return MedsafetyConfig(data_dir=tmp_path / "data", benign_validation_share=0.2, benign_test_share=0.3)


def texts(questions: QuestionSet) -> set[str]:
    return {choice.question for choice in questions.choices} | {r.question for r in questions.references}


def test_one_half_of_a_file_gates_and_the_other_is_kept_for_the_end(tmp_path: Path) -> None:
    config = files(tmp_path)
    halves = {split: question_set(config, MedsafetyConfig(), split, 7) for split in HELD_OUT}
    assert not texts(halves["validation"]) & texts(halves["test"])
    assert sum(len(half.choices) for half in halves.values()) == 40
    assert sum(len(half.references) for half in halves.values()) == 40
    assert halves["test"] == question_set(config, MedsafetyConfig(), "test", 7)
    assert halves["test"] != question_set(config, MedsafetyConfig(), "test", 8)


def test_at_most_so_many_whatever_the_files_order(tmp_path: Path) -> None:
    config = files(tmp_path, max_questions=5)
    found = question_set(config, MedsafetyConfig(), "test", 7)
    assert (len(found.choices), len(found.references)) == (5, 5)
    path = Path(str(config.choices))
    path.write_text("".join(reversed(path.read_text(encoding="utf-8").splitlines(keepends=True))), encoding="utf-8")
    assert question_set(config, MedsafetyConfig(), "test", 7) == found


def test_without_files_there_is_nothing_to_ask() -> None:
    assert question_set(CapabilityConfig(), MedsafetyConfig(), "validation", 7) == QuestionSet()


def test_too_small_or_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(SalusError, match=r"choices.jsonl has too few questions to leave one for the"):
        for split in HELD_OUT:
            question_set(files(tmp_path, questions=1), MedsafetyConfig(), split, 7)
    with pytest.raises(SalusError, match=r"nowhere\.jsonl does not exist"):
        question_set(CapabilityConfig(choices=str(tmp_path / "nowhere.jsonl")), MedsafetyConfig(), "test", 7)


def test_medquad_options_are_four_and_one_is_the_questions_own(medquad: MedsafetyConfig) -> None:
    found = medquad_choices(medquad, "test", 7)
    assert found and found == medquad_choices(medquad, "test", 7)
    for choice in found:
        kind, topic = choice.question.removeprefix("What ").removesuffix("?").split(" has ")
        assert len(set(choice.options)) == 4
        assert choice.options[choice.answer] == f"{topic.capitalize()} is known for its {kind}."
        # Other topics', of the same type.
        wrong = [option for i, option in enumerate(choice.options) if i != choice.answer]
        assert all(kind in option and not option.startswith(f"{topic.capitalize()} ") for option in wrong)
    places = [choice.answer for choice in found]
    assert len(set(places)) == 4
    assert places != [choice.answer for choice in medquad_choices(medquad, "test", 8)]


def test_medquad_references_are_as_long_as_in_training(medquad: MedsafetyConfig) -> None:
    found = medquad_references(medquad, "validation")
    assert found and all(r.answer.endswith(".") and "mild" not in r.answer for r in found)


def test_a_type_with_too_few_answers_takes_others(tmp_path: Path) -> None:
    rows = [
        {"question": f"Q {i}?", "answer": f"Answer {i}.", "focus": f"t {i}", "question_type": "rare" if i < 8 else "b"}
        for i in range(60)
    ]
    write_lines(tmp_path / "medquad" / "a.jsonl", rows)
    config = MedsafetyConfig(data_dir=tmp_path, benign_validation_share=0.5, benign_test_share=0.1)
    assert all(len(choice.options) == 4 for choice in medquad_choices(config, "validation", 7))


def test_too_few_answers_are_a_sentence(tmp_path: Path) -> None:
    write_lines(tmp_path / "medquad" / "a.jsonl", [{"question": f"Q {i}?", "answer": "Alike."} for i in range(30)])
    config = MedsafetyConfig(data_dir=tmp_path, benign_test_share=0.5)
    with pytest.raises(SalusError, match="fewer than 3 other answers to 'Q"):
        medquad_choices(config, "test", 7)


def test_real_questions_are_of_held_out_topics(public_data: Path) -> None:
    config = MedsafetyConfig(data_dir=public_data, seed=7)
    splits = medsafety_prompts(config)
    trained_on = set(splits["train"]["prompt"].to_pylist())
    seen: set[str] = set()
    for split in HELD_OUT:
        found = question_set(MEDQUAD, config, split, 7)
        assert len(found.choices) > 100 and len(found.references) > 100
        assert texts(found) <= set(splits[split]["prompt"].to_pylist())
        assert not texts(found) & trained_on
        assert all(len(set(choice.options)) == 4 for choice in found.choices)
        seen |= texts(found)
    assert not seen & trained_on


def test_settings_that_do_not_fit() -> None:
    with pytest.raises(ValidationError, match="source 'medquad' makes its own sets"):
        CapabilityConfig(source="medquad", choices="x.jsonl")
    with pytest.raises(ValidationError):
        CapabilityLimits(max_perplexity_ratio=0.5)
    with pytest.raises(ValidationError, match="answer 2 is none of 2"):
        ChoiceQuestion(question="q", options=("a", "b"), answer=2, source="medquad")
