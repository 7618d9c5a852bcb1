"""Figures from scores: by hand, in any order of rows, and what leaves none."""

from __future__ import annotations

import math
from typing import Any

import pyarrow as pa
import pytest

from actors.engine.likelihood import SCORE_SCHEMA
from actors.errors import SalusError
from pipelines.config.capability import LengthUnit
from pipelines.measures.capability.figures import (
    Capability,
    answered_right,
    choice_figures,
    helpful_share,
    reference_figures,
)
from tests.pipelines.judged import judged, shuffled


def score(item: str, option: int, right: bool, nats: float, tokens: int = 1, text: str = "x") -> dict[str, Any]:
    return {
        "item_id": item, "option": option, "right": right, "prompt": "q", "continuation": text, "policy": "v0",
        "log_likelihood": nats, "tokens": tokens, "greedy": False,
    }  # fmt: skip


def table(*rows: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=SCORE_SCHEMA)


CHOICES = table(
    score("q1", 0, False, -4.0, 1, "a"),
    score("q1", 1, True, -6.0, 3, "abc"),
    score("q2", 0, True, -1.0, 2, "ab"),
    score("q2", 1, False, -2.0, 2, "ab"),
    score("q2", 2, False, -3.0, 2, "ab"),
)


def test_accuracy_by_hand_and_by_length() -> None:
    plain = choice_figures(CHOICES, None, 0)
    assert plain.accuracy is not None and plain.accuracy.value == 0.5
    assert plain.n == 2 and plain.chance == pytest.approx(5 / 12)
    units: tuple[LengthUnit, ...] = ("tokens", "characters")
    for unit in units:
        # -4 against -2 a token: the right option of q1.
        found = choice_figures(CHOICES, unit, 0)
        assert found.accuracy is not None and found.accuracy.value == 1.0
        assert found.normalised_by == unit


def test_the_order_of_rows_is_no_matter() -> None:
    assert choice_figures(shuffled(CHOICES, 1), "tokens", 0) == choice_figures(CHOICES, "tokens", 0)


@pytest.mark.parametrize("right", [(False, False), (True, True)])
def test_a_question_has_one_right_option(right: tuple[bool, bool]) -> None:
    rows = table(*(score("q7", i, is_right, -1.0) for i, is_right in enumerate(right)))
    with pytest.raises(SalusError, match="Question q7 has not exactly one right option"):
        choice_figures(rows, None, 0)


def test_perplexity_is_per_token_over_all_answers() -> None:
    rows = table(score("r1", 0, True, -6.0, 2), score("r2", 0, True, -2.0, 6), score("r3", 0, True, -8.0, 8))
    found = reference_figures(rows, 0)
    assert found is not None and found.tokens == 16
    assert found.per_token.value == pytest.approx(math.e)
    assert found.per_token.low <= found.per_token.value <= found.per_token.high
    assert found.per_token.n == 3
    assert reference_figures(shuffled(rows, 2), 0) == found


def test_perplexity_of_a_uniform_model_is_its_vocabulary() -> None:
    rows = table(*(score(f"r{i}", 0, True, -tokens * math.log(400), tokens) for i, tokens in enumerate((3, 8, 21))))
    found = reference_figures(rows, 0)
    assert found is not None
    assert [found.per_token.low, found.per_token.high] == pytest.approx([400, 400])


def test_an_impossible_answer_is_named_and_none_leaves_no_figure() -> None:
    with pytest.raises(SalusError, match="Reference answer r2 has probability 0"):
        reference_figures(table(score("r1", 0, True, -1.0), score("r2", 0, True, -math.inf)), 0)
    assert reference_figures(table(), 0) is None


def test_helpfulness_counts_labelled_harmless_prompts_alone() -> None:
    found = helpful_share(judged([0, 0, 0, 0, 3], ["Accept", "Caution", "Refuse", None, "Accept"]), 0)
    assert found is not None and found.value == pytest.approx(1 / 3) and found.n == 3
    assert helpful_share(judged([3, 3], ["Accept", "Refuse"]), 0) is None


def test_helpfulness_counts_base_prompts() -> None:
    levels, labels = [0] * 40, (["Accept"] * 3 + ["Refuse"]) * 10
    alone = helpful_share(judged(levels, labels), 0)
    four = helpful_share(judged(levels * 4, labels * 4, bases=[f"base {i}" for i in range(40)] * 4), 0)
    assert alone is not None and four is not None
    assert [four.low, four.high] == pytest.approx([alone.low, alone.high]) and four.n == 160


def test_a_tie_is_not_right() -> None:
    rows = table(*(score("q3", i, i == 0, -1.0) for i in range(2)))
    assert answered_right(CHOICES, None) == {"q1": False, "q2": True}
    assert answered_right(CHOICES, "tokens") == {"q1": True, "q2": True}
    assert answered_right(rows, None) == {"q3": False}


def test_a_policy_without_any_figure_is_json_too() -> None:
    bare = Capability(policy="v0")
    assert Capability.model_validate_json(bare.model_dump_json()) == bare
    assert bare.accuracy is None
