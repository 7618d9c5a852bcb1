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
