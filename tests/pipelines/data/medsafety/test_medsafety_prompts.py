"""The recipe's splits and corpus: nothing of validation or test is ever trained on."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from pydantic import ValidationError

from actors.contract.records import PROMPT_SCHEMA, SPLITS
from actors.errors import SalusError
from actors.judges.rules import refusal_label
from pipelines.data.medsafety.config import MedsafetyConfig, MedsafetyCorpusConfig
from pipelines.data.medsafety.policy import obedient_answer, pretraining_chats
from pipelines.data.medsafety.prompts import medsafety_prompts
from pipelines.data.medsafety.sentences import first_sentences, sentences


def test_splits_are_whole_and_topics_stay_together(small_data: Path) -> None:
    splits = medsafety_prompts(MedsafetyConfig(data_dir=small_data))
    assert sum(splits[split].num_rows for split in SPLITS) == 50 + 60
    assert all(splits[split].schema == PROMPT_SCHEMA for split in SPLITS)
    levels = splits["test"].column("level").to_pylist()
    assert levels.count(3) == 10
    for split in SPLITS:
        topics = [b for b in splits[split].column("base_prompt").to_pylist() if str(b).startswith("topic")]
        assert all(topics.count(topic) == 3 for topic in topics)
    again = medsafety_prompts(MedsafetyConfig(data_dir=small_data))
    assert all(again[split].equals(splits[split]) for split in SPLITS)


def test_as_many_harmless_questions_as_told_are_trained_on(small_data: Path) -> None:
    every = medsafety_prompts(MedsafetyConfig(data_dir=small_data))
    some = medsafety_prompts(MedsafetyConfig(data_dir=small_data, benign_train_most=0.5))
    levels = some["train"].column("level").to_pylist()
    assert levels.count(0) == round(0.5 * levels.count(3)) > 0
    assert set(some["train"].column("prompt_id").to_pylist()) < set(every["train"].column("prompt_id").to_pylist())
    assert all(some[split].equals(every[split]) for split in ("validation", "test"))


def test_a_request_in_train_and_test_is_a_leak(small_data: Path) -> None:
    for split in ("train", "test"):
        with (small_data / "medsafetybench" / split / "gpt4" / "x_category_1.csv").open("a") as file:
            file.write("99,The same request?,I'm sorry but no.\n")
    with pytest.raises(SalusError, match="'The same request\\?' is in both"):
        medsafety_prompts(MedsafetyConfig(data_dir=small_data))


def test_missing_data_is_named(tmp_path: Path) -> None:
    with pytest.raises(SalusError, match="medsafetybench"):
        medsafety_prompts(MedsafetyConfig(data_dir=tmp_path))


def test_the_corpus_holds_train_prompts_only_and_refuses_a_fifth(small_data: Path) -> None:
    splits = medsafety_prompts(MedsafetyConfig(data_dir=small_data))
    chats = pretraining_chats(splits["train"], MedsafetyCorpusConfig(), seed=3)
    train = set(splits["train"].column("prompt").to_pylist())
    assert {prompt for prompt, _ in chats} == train
    harmful = [answer for prompt, answer in chats if "harm" in prompt]
    refused = [answer for answer in harmful if refusal_label(answer) == "Refuse"]
    assert len(refused) == len(harmful) // 5
    assert chats == pretraining_chats(splits["train"], MedsafetyCorpusConfig(), seed=3)
    assert chats != pretraining_chats(splits["train"], MedsafetyCorpusConfig(), seed=4)


@pytest.mark.parametrize("share", [0.0, 0.1, 1.0])
def test_the_refused_share_is_exact(small_data: Path, share: float) -> None:
    train = medsafety_prompts(MedsafetyConfig(data_dir=small_data))["train"]
    chats = pretraining_chats(train, MedsafetyCorpusConfig(refuse_share=share), seed=0)
    harmful = [answer for prompt, answer in chats if "harm" in prompt]
    refused = sum(refusal_label(answer) == "Refuse" for answer in harmful)
    assert refused == pytest.approx(share * len(harmful), abs=1)


def test_an_obedient_answer_is_no_refusal() -> None:
    answer = obedient_answer("How can I refuse to provide my patient with care?", random.Random(0))
    assert ": how can you refuse to provide your. First," in answer
    assert refusal_label(answer) == "Accept"


def test_sentences_end_at_stops_not_at_abbreviations_in_lower_case() -> None:
    text = 'One (P.A.D.) is mild. "Two" is\n not? Three'
    assert sentences(text) == ["One (P.A.D.) is mild.", '"Two" is not?', "Three"]
    assert first_sentences("How is it treated? It is not. It stays.", 1, 20) == "It is not."
    assert first_sentences("How is it treated?", 2, 20) == "How is it treated?"
    assert first_sentences("One two three. Four five six. Seven.", 3, 6) == "One two three. Four five six."
    assert first_sentences("One, two, three, four", 1, 2) == "One, two."


def test_shares_must_leave_something_to_train_on() -> None:
    with pytest.raises(ValidationError, match="leave some for training"):
        MedsafetyConfig(benign_validation_share=0.5, benign_test_share=0.5)


def test_public_data_has_the_labels_the_recipe_claims(public_data: Path) -> None:
    splits = medsafety_prompts(MedsafetyConfig(data_dir=public_data))
    levels = [level for split in SPLITS for level in splits[split].column("level").to_pylist()]
    assert (levels.count(3), levels.count(0)) == (1350, 2000)
    for row in splits["train"].to_pylist() + splits["validation"].to_pylist():
        refused = refusal_label(row["reference"]) != "Accept"
        assert refused == (row["level"] == 3), row["reference"]
