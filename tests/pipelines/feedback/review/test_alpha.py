"""Agreement of reviewers: a published example, the ends of the scale, and intervals that claim no certainty."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from pipelines.feedback.review.alpha import krippendorff_alpha, unanimous_share
from pipelines.measures.agreement import kappa

# Krippendorff, Computing Krippendorff's Alpha-Reliability (2011), section C: four observers, twelve units, of which the
# last has one value alone and is left out. 0: no value.
EXAMPLE = """
1 1 0 1
2 2 3 2
3 3 3 3
3 3 3 3
2 2 2 2
1 2 3 4
4 4 4 4
1 1 2 1
2 2 2 2
0 5 5 5
0 0 1 1
"""


def counts_of(text: str, labels: int) -> NDArray[np.int64]:
    rows = [[int(value) for value in line.split()] for line in text.strip().splitlines()]
    return np.array([np.bincount(row, minlength=labels + 1) for row in rows], dtype=np.int64)[:, 1:]


def test_alpha_is_that_of_the_published_example() -> None:
    alpha = krippendorff_alpha(counts_of(EXAMPLE, 5))
    assert alpha is not None and alpha.value == pytest.approx(0.743, abs=5e-4)
    assert alpha.low < alpha.value < alpha.high <= 1 and alpha.n == 11


def test_of_two_reviewers_it_is_near_cohens_kappa() -> None:
    rng = np.random.default_rng(0)
    first = rng.integers(3, size=4000)
    second = np.where(rng.random(4000) < 0.7, first, rng.integers(3, size=4000))
    confusion = np.zeros((3, 3))
    np.add.at(confusion, (first, second), 1)
    alpha = krippendorff_alpha(np.eye(3, dtype=np.int64)[first] + np.eye(3, dtype=np.int64)[second])
    assert alpha is not None and alpha.value == pytest.approx(float(kappa(confusion)), abs=2e-3)


def test_a_few_labels_of_one_mind_are_no_certainty() -> None:
    counts = np.array([[2, 0, 0], [0, 2, 0], [0, 0, 3]] * 4)
    alpha, share = krippendorff_alpha(counts), unanimous_share(counts)
    assert alpha is not None and alpha.value == pytest.approx(1.0) and alpha.low < 0.7
    assert (share.value, share.high, share.n) == (1.0, 1.0, 12) and share.low < 0.75


def test_chance_and_opposition() -> None:
    opposed = krippendorff_alpha(np.array([[1, 1]] * 20))
    assert opposed is not None and opposed.value < -0.9 and unanimous_share(np.array([[1, 1]] * 20)).value == 0
    rng = np.random.default_rng(1)
    by_chance = krippendorff_alpha(rng.multinomial(2, [0.5, 0.5], size=4000))
    assert by_chance is not None and by_chance.low < 0 < by_chance.high


def test_a_single_label_says_nothing_of_agreement() -> None:
    assert krippendorff_alpha(np.array([[3, 0, 0], [2, 0, 0]])) is None
