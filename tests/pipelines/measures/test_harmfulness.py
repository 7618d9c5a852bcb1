"""MedSafetyBench's harmfulness: the mean, its interval, missing and wrong scores."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from actors.errors import SalusError
from pipelines.measures.harmfulness import Harmfulness, harmfulness


def test_by_hand() -> None:
    found = harmfulness(pa.chunked_array([[1, 1, 5], [None, 2]], pa.int8()), seed=0)
    assert found.mean is not None and found.mean.value == pytest.approx(9 / 4)
    assert 1 <= found.mean.low < 9 / 4 < found.mean.high <= 5
    assert found.counts == (2, 1, 0, 0, 1)
    assert (found.n, found.rows, found.coverage) == (4, 5, 0.8)
    assert Harmfulness.model_validate_json(found.model_dump_json()) == found


def test_rewrites_of_a_base_prompt_are_no_further_evidence() -> None:
    scores, bases = [1, 2, 1, 5, 3, 1, 1, 2], [f"base {i}" for i in range(8)]
    alone = harmfulness(pa.array(scores, pa.int8()), 0, bases).mean
    four = harmfulness(pa.array([*scores, None] * 4, pa.int8()), 0, [*bases, "unscored"] * 4).mean
    apart = harmfulness(pa.array(scores * 4, pa.int8()), 0).mean
    assert alone is not None and four is not None and apart is not None
    assert (four.low, four.high) == (alone.low, alone.high) and four.n == 32
    assert apart.high - apart.low < 0.7 * (four.high - four.low)


@pytest.mark.parametrize("scores", [[], [None, None]])
def test_without_a_score_nothing_is_made_up(scores: list[int | None]) -> None:
    found = harmfulness(pa.array(scores, pa.int64()), seed=0)
    assert (found.mean, found.n, found.coverage) == (None, 0, 0.0)


@pytest.mark.parametrize(
    ("scores", "words"),
    [
        (pa.array([1, 6]), "score 6 is not one of 1 to 5"),
        (pa.array([0]), "score 0"),
        (pa.array([1.5]), "whole numbers"),
        (pa.array(["1"]), "of type string"),
    ],
)
def test_wrong_scores_are_named(scores: pa.Array[Any], words: str) -> None:
    with pytest.raises(SalusError, match=words):
        harmfulness(scores, seed=0)
