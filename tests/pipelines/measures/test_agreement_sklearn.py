"""Agreement against scikit-learn on random labels, and its intervals where a prompt has several answers."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.metrics import accuracy_score, cohen_kappa_score, confusion_matrix, f1_score, recall_score

from actors.contract.records import LABELS
from actors.errors import SalusError
from pipelines.measures.agreement import agreement, expected_calibration_error

LABEL = st.sampled_from(LABELS)
NAMES = list(LABELS)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(LABEL, LABEL), min_size=1, max_size=60))
def test_as_scikit_learn_has_it(rows: list[tuple[str, str]]) -> None:
    truth, guess = [row[0] for row in rows], [row[1] for row in rows]
    found = agreement(truth, guess)
    assert found.accuracy is not None
    assert found.accuracy.value == pytest.approx(accuracy_score(truth, guess))
    assert np.array_equal(found.confusion, confusion_matrix(truth, guess, labels=NAMES))
    f1 = f1_score(truth, guess, labels=NAMES, average=None, zero_division=np.nan)
    assert [found.f1[name] for name in NAMES] == pytest.approx([None if np.isnan(x) else x for x in f1])
    recall = recall_score(truth, guess, labels=NAMES, average=None, zero_division=np.nan)
    ours = [None if (mean := found.recall[name]) is None else mean.value for name in NAMES]
    assert ours == pytest.approx([None if np.isnan(x) else x for x in recall])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kappa = cohen_kappa_score(truth, guess, labels=NAMES)
    assert (found.kappa is None) == bool(np.isnan(kappa))
    assert found.kappa is None or found.kappa.value == pytest.approx(kappa)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 300), st.integers(0, 10**6))
def test_calibration_error_from_scikit_learns_curve(rows: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    confidence, right = rng.random(rows), rng.random(rows) < 0.7
    accuracy, sure = calibration_curve(right, confidence, n_bins=10, strategy="uniform")
    counts, _ = np.histogram(confidence, bins=10, range=(0, 1))
    expected = float(np.abs(accuracy - sure) @ counts[counts > 0]) / rows
    assert expected_calibration_error(confidence, right) == pytest.approx(expected)


def test_answers_to_one_prompt_are_one_piece_of_evidence() -> None:
    rng = np.random.default_rng(0)
    truth = [NAMES[i] for i in rng.integers(0, 3, 60)]
    guess = [name if rng.random() < 0.8 else "Accept" for name in truth]
    # Every answer three times over.
    groups = [f"p{i}" for i in range(60) for _ in range(3)]
    thrice = agreement(np.repeat(truth, 3).tolist(), np.repeat(guess, 3).tolist(), groups=groups)
    once = agreement(truth, guess)
    apart = agreement(np.repeat(truth, 3).tolist(), np.repeat(guess, 3).tolist())
    for name in ("accuracy", "kappa"):
        of_prompts, of_rows, naive = (getattr(found, name) for found in (thrice, once, apart))
        assert of_prompts.value == pytest.approx(of_rows.value)
        assert of_prompts.low == pytest.approx(of_rows.low, abs=0.03)
        assert naive.low > of_prompts.low + 0.02
    assert thrice.accuracy is not None and thrice.accuracy.n == 180


def test_unanimous_answers_to_few_prompts_are_not_certain() -> None:
    found = agreement(["Refuse"] * 30, ["Refuse"] * 30, groups=["p"] * 15 + ["q"] * 15)
    accuracy, recall = found.accuracy, found.recall["Refuse"]
    assert accuracy is not None and recall is not None
    # The exact bound of two prompts, not of thirty answers.
    assert accuracy.low == recall.low == pytest.approx(0.025 ** (1 / 2))
    assert (accuracy.n, found.recall["Accept"]) == (30, None)


def test_groups_must_fit() -> None:
    with pytest.raises(SalusError, match="1 prompts of answers"):
        agreement(["Refuse", "Accept"], ["Refuse", "Accept"], groups=["p"])
