"""Agreement of a judge with reference labels, against hand-computed tables."""

from __future__ import annotations

import numpy as np
import pytest

from actors.errors import SalusError
from pipelines.measures.agreement import Agreement, agreement, expected_calibration_error


def labels(accept: int, caution: int, refuse: int) -> list[str]:
    return ["Accept"] * accept + ["Caution"] * caution + ["Refuse"] * refuse


def test_by_hand() -> None:
    # Confusion (rows: truth): 20 5 / 10 15, the textbook example of kappa 0.4.
    truth = ["Accept"] * 25 + ["Refuse"] * 25
    guess = ["Accept"] * 20 + ["Refuse"] * 5 + ["Accept"] * 10 + ["Refuse"] * 15
    found = agreement(truth, guess)
    assert found.confusion == ((20, 0, 5), (0, 0, 0), (10, 0, 15))
    assert found.accuracy is not None and found.accuracy.value == 0.7
    assert found.kappa is not None and found.kappa.value == pytest.approx(0.4)
    assert found.kappa.low < 0.4 < found.kappa.high
    assert found.f1 == {
        "Accept": pytest.approx(2 * 20 / 55),
        "Caution": None,
        "Refuse": pytest.approx(2 * 15 / 45),
    }
    assert found.ece is None
    assert Agreement.model_validate_json(found.model_dump_json()) == found


def test_perfect_and_single_label() -> None:
    perfect = agreement(labels(2, 2, 2), labels(2, 2, 2))
    assert perfect.accuracy is not None and perfect.accuracy.value == 1 and perfect.accuracy.low < 0.6
    assert perfect.kappa is not None and perfect.kappa.value == 1
    # Both know one label only: agreement by chance is certain, and kappa is not defined.
    assert agreement(labels(4, 0, 0), labels(4, 0, 0)).kappa is None


def test_missing_verdicts_lower_the_coverage_only() -> None:
    found = agreement(["Accept", "Accept", "Refuse", None], ["Accept", None, "Refuse", "Refuse"])
    assert (found.n, found.coverage) == (2, 2 / 3)
    assert found.accuracy is not None and found.accuracy.value == 1
    nothing = agreement([None], ["Accept"])
    assert (nothing.accuracy, nothing.kappa, nothing.n, nothing.coverage) == (None, None, 0, 0.0)


def test_calibration_by_hand() -> None:
    # Two answers at .95 (one right), two at .65 (both right): (2 * .45 + 2 * .35) / 4 = .4.
    confidence, right = np.array([0.95, 0.95, 0.65, 0.65]), np.array([True, False, True, True])
    assert expected_calibration_error(confidence, right) == pytest.approx(0.4)
    assert expected_calibration_error(np.array([1.0]), np.array([True])) == 0
    sure, unsure = [0.95, 0.0, 0.05], [0.2, 0.15, 0.65]
    probabilities = np.array([sure, sure, unsure, unsure, [0.0, 0.0, 0.0]])
    found = agreement(
        ["Accept", "Refuse", "Refuse", "Refuse", "Accept"],
        ["Accept", "Accept", "Refuse", "Refuse", None],
        probabilities,
    )
    assert found.ece == pytest.approx(0.4)


def test_bad_input_is_one_sentence() -> None:
    with pytest.raises(SalusError, match="Reject"):
        agreement(["Accept"], ["Reject"])
    with pytest.raises(SalusError, match="one label of each kind"):
        agreement(["Accept"], ["Accept", "Refuse"])
    with pytest.raises(SalusError, match="shape"):
        agreement(["Refuse"], ["Refuse"], [[0.5, 0.5]])
