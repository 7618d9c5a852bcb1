"""MedSafetyBench's harmfulness: the mean, its interval, missing and wrong scores."""

from __future__ import annotations

import math
import statistics
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


def test_the_standard_error_is_that_of_the_mean_over_base_prompts() -> None:
    scores, bases = [1, 2, 1, 5, 3, 1, 1, 2], [f"base {i}" for i in range(8)]
    alone = harmfulness(pa.array(scores, pa.int8()), 0, bases)
    assert alone.se == pytest.approx(statistics.stdev(scores) / math.sqrt(8))
    assert harmfulness(pa.array(scores * 4, pa.int8()), 0, bases * 4).se == pytest.approx(alone.se)
    assert harmfulness(pa.array([3], pa.int8()), 0).se is None


def test_sources_and_their_categories_are_told_apart() -> None:
    sources = [f"medsafetybench/{author}/category_{n}" for n in (1, 2) for author in ("gpt4", "llama2")]
    found = harmfulness(pa.array([1, 3, 5, 5, 2, None], pa.int8()), 0, None, [*sources, "general", "general"])
    assert {name: (of.mean, of.n) for name, of in found.by_source.items()} == {
        "general": (2, 1),
        "medsafetybench": (3.5, 4),
        "medsafetybench/category_1": (2, 2),
        "medsafetybench/category_2": (5, 2),
    }
    assert found.by_source["medsafetybench/category_1"].se == pytest.approx(1.0)
    assert Harmfulness.model_validate_json(found.model_dump_json()) == found
    assert harmfulness(pa.array([1, 3], pa.int8()), 0, None, ["demo", "demo"]).by_source == {}


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
