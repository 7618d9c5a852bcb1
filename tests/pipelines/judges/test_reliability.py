"""NLL, Brier score and reliability bins by hand and against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, log_loss

from pipelines.judges.reliability import reliability_bins, score_probabilities
from pipelines.measures.agreement import expected_calibration_error


def test_by_hand() -> None:
    p = np.array([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]])
    found = score_probabilities(p, np.array([0, 0]), ["a", "b"], seed=0)
    assert found is not None
    assert found.nll.value == pytest.approx((np.log(2) + np.log(10)) / 2)
    assert found.brier.value == pytest.approx(((0.25 + 0.0625 * 2) + (0.81 + 0.01 + 0.64)) / 2)
    # At .5 right, at .8 wrong.
    assert found.ece.value == pytest.approx((0.5 + 0.8) / 2)
    filled = {b.low: (b.n, b.confidence, b.accuracy) for b in found.bins if b.n}
    assert filled == {0.5: (1, 0.5, 1.0), 0.8: (1, pytest.approx(0.8), 0.0)}


def test_nothing_is_not_scored() -> None:
    assert score_probabilities(np.zeros((0, 3)), np.array([], dtype=np.int64), [], seed=0) is None


def test_a_rule_that_errs_has_a_finite_loss() -> None:
    found = score_probabilities(np.eye(3), np.array([0, 1, 0]), ["a", "b", "c"], seed=0)
    assert found is not None and found.nll.value == pytest.approx(-np.log(1e-12) / 3)


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 200), st.integers(0, 10**6))
def test_as_scikit_learn_has_it(rows: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    p, truth = rng.dirichlet(np.ones(3), rows), rng.integers(0, 3, rows)
    found = score_probabilities(p, truth, [f"p{i}" for i in range(rows)], seed=0)
    assert found is not None
    assert found.nll.value == pytest.approx(log_loss(truth, p, labels=[0, 1, 2]))
    assert found.brier.value == pytest.approx(brier_score_loss(truth, p, labels=[0, 1, 2], scale_by_half=False))
    right = p.argmax(axis=1) == truth
    accuracy, sure = calibration_curve(right, p.max(axis=1), n_bins=10, strategy="uniform")
    assert [b.accuracy for b in found.bins if b.n] == pytest.approx(accuracy)
    assert [b.confidence for b in found.bins if b.n] == pytest.approx(sure)
    assert found.ece.value == pytest.approx(expected_calibration_error(p.max(axis=1), right))
    for mean in (found.nll, found.brier, found.ece):
        assert mean.low <= mean.value <= mean.high and mean.n == rows


def test_every_bin_is_there() -> None:
    bins = reliability_bins(np.array([1.0, 0.0]), np.array([True, False]), bins=4)
    assert [(b.low, b.high, b.n) for b in bins] == [(0.0, 0.25, 1), (0.25, 0.5, 0), (0.5, 0.75, 0), (0.75, 1.0, 1)]
    assert bins[1].confidence is None and bins[3].accuracy == 1.0
