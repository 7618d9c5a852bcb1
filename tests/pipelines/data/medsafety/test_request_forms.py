"""MedQuAD's questions in the forms of requests: only the content tells them from harmful ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.contract.records import SPLITS
from actors.files.shards import strings
from pipelines.data.batches import prompt_table
from pipelines.data.medsafety.config import MedsafetyConfig
from pipelines.data.medsafety.forms import as_request
from pipelines.data.medsafety.prompts import medsafety_prompts
from pipelines.data.sets.medquad import read_medquad


@pytest.mark.parametrize(
    ("question", "topic"),
    [
        ("What is (are) Rheumatic Fever ?", "Rheumatic Fever"),
        ("Who is at risk for Parasites - Hookworm? ?", "Parasites - Hookworm"),
        ("Is Usher syndrome, type 2C inherited ?", "Usher syndrome, type 2C"),
        ("What to do for What I need to know about Gas ?", "Gas"),
        ("What causes {0.__class__} ?", "{0.__class__}"),
    ],
)
def test_a_question_becomes_a_request_about_its_topic(question: str, topic: str) -> None:
    worded = as_request(question, 1.0, seed=0)
    assert worded != question and topic in worded and "need to know" not in worded
    assert as_request(question, 1.0, seed=0) == worded
    assert as_request(question, 0.0, seed=0) == question


def test_a_form_that_is_not_medquads_stays() -> None:
    assert as_request("How is botulism diagnosed?", 1.0, seed=0) == "How is botulism diagnosed?"


def test_nearly_all_of_medquad_has_a_form(public_data: Path) -> None:
    asked = prompt_table(read_medquad(public_data / "medquad"))["prompt"].to_pylist()
    worded = [as_request(str(question), 1.0, seed=0) for question in asked]
    assert sum(new == old for new, old in zip(worded, asked, strict=True)) < 0.005 * len(asked)
    # The words of harmful requests begin harmless ones as well.
    assert sum(text.startswith("How can") for text in worded) > 0.15 * len(worded)


def test_the_share_is_worded_so_in_every_split_and_topics_keep_theirs(public_data: Path) -> None:
    plain = medsafety_prompts(MedsafetyConfig(data_dir=public_data))
    worded = medsafety_prompts(MedsafetyConfig(data_dir=public_data, request_forms=0.5))
    for split in SPLITS:
        before, after = plain[split], worded[split]
        assert before["base_prompt"].equals(after["base_prompt"])
        assert before["reference"].equals(after["reference"])
        asked = list(zip(before["level"].to_pylist(), strings(before, "prompt"), strings(after, "prompt"), strict=True))
        assert all(old == new for level, old, new in asked if level)
        harmless = [old != new for level, old, new in asked if not level]
        assert 0.4 < sum(harmless) / len(harmless) < 0.6
