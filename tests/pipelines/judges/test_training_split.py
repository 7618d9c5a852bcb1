"""Labels split for training: no prompt on both sides, whatever the order; rare labels repeated, within a limit."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.contract.records import LABELS, Label
from actors.errors import SalusError
from pipelines.data.split import group_key
from pipelines.judges.human_labels import HumanJudgment
from pipelines.judges.training.split import Answers, label_counts, split_labels, training_rows


def answer(prompt: str, label: Label, number: int = 0, prompt_id: str | None = None) -> HumanJudgment:
    return HumanJudgment(
        prompt_id=prompt_id or f"id of {prompt}", prompt=prompt, answer=f"{label} answer {number}", label=label
    )


def answers(prompts: int) -> Answers:
    return tuple(answer(f"question {i}", label) for i in range(prompts) for label in LABELS)


# -- the split


@given(st.integers(40, 120), st.floats(0.15, 0.5), st.integers(0, 1000))
def test_every_answer_is_on_one_side_and_no_prompt_on_both(prompts: int, held_out: float, seed: int) -> None:
    given_answers = answers(prompts)
    split = split_labels(given_answers, "team.csv", held_out, seed)
    assert Counter(split.train + split.held_out) == Counter(given_answers)
    assert not {a.prompt for a in split.train} & {a.prompt for a in split.held_out}
    assert abs(len(split.held_out) / len(given_answers) - held_out) < 0.35


def test_the_order_of_the_file_is_no_matter_and_the_seed_is() -> None:
    given_answers = answers(60)
    shuffled = list(given_answers)
    random.Random(0).shuffle(shuffled)
    first = split_labels(given_answers, "team.csv", 0.3, 1)
    assert set(split_labels(tuple(shuffled), "team.csv", 0.3, 1).held_out) == set(first.held_out)
    assert set(split_labels(given_answers, "team.csv", 0.3, 2).held_out) != set(first.held_out)


def test_prompts_that_belong_together_stay_together() -> None:
    # Ids chain wordings, and wordings that differ in case and white space chain ids.
    chained = tuple(
        answer(prompt, "Accept", number, prompt_id)
        for number, (prompt, prompt_id) in enumerate(
            [("How much?", "a"), ("how  MUCH?", "b"), ("What dose?", "b"), ("Which amount?", "c"), ("what dose?", "c")]
        )
    )
    for seed in range(40):
        split = split_labels((*chained, *answers(60)), "team.csv", 0.5, seed)
        sides = {answer in split.train for answer in chained}
        assert len(sides) == 1
        train = {group_key(a.prompt) for a in split.train}
        assert not train & {group_key(a.prompt) for a in split.held_out}


def test_an_absent_label_is_named_with_its_cure() -> None:
    without = tuple(a for a in answers(60) if a.label != "Caution")
    with pytest.raises(SalusError, match=r"^team\.csv has no answer labelled Caution; a judge cannot learn a label"):
        split_labels(without, "team.csv", 0.3, 0)
    # One prompt alone has the label: it is on one side, and missing on the other.
    lone = (*without, answer("question 7", "Caution"))
    with pytest.raises(SalusError, match=r"part of team\.csv has no answer labelled Caution; label answers to more"):
        split_labels(lone, "team.csv", 0.3, 0)


# -- the rows


def skewed(accept: int, caution: int, refuse: int) -> Answers:
    counts: dict[Label, int] = {"Accept": accept, "Caution": caution, "Refuse": refuse}
    return tuple(answer(f"question {i}", label, i) for label, count in counts.items() for i in range(count))


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 60), st.integers(1, 10), st.integers(0, 99))
def test_rare_labels_are_repeated_evenly_and_within_the_limit(a: int, b: int, c: int, limit: int, seed: int) -> None:
    rows = training_rows(skewed(a, b, c), "oversample", limit, seed)
    most = max(a, b, c)
    for label, count in zip(LABELS, (a, b, c), strict=True):
        assert label_counts(rows)[label] == min(most, count * limit)
        copies = Counter(row for row in rows if row.label == label)
        assert len(copies) == count
        assert max(copies.values()) - min(copies.values()) <= 1
        assert max(copies.values()) <= limit


def test_without_balance_each_answer_is_there_once() -> None:
    given_answers = skewed(20, 3, 5)
    rows = training_rows(given_answers, "none", 8, 0)
    assert Counter(rows) == Counter(given_answers)
    # Labels are mixed, not one after the other.
    assert [row.label for row in rows] != sorted(row.label for row in rows)


def test_rows_depend_on_the_seed_and_not_on_the_order_of_the_file() -> None:
    given_answers = skewed(20, 3, 7)
    rows = training_rows(given_answers, "oversample", 8, 1)
    assert training_rows(given_answers[::-1], "oversample", 8, 1) == rows
    assert training_rows(given_answers, "oversample", 8, 2) != rows
