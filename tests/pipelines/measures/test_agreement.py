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


@pytest.mark.parametrize(("each", "low"), [(5, 0.673), (100, 0.982)])
def test_a_perfect_sample_is_not_certain(each: int, low: float) -> None:
    """kappa of 15 right answers of 15 was [1, 1]; by the exact bound of the accuracy, .782, it is at least .673."""
    found = agreement(labels(each, each, each), labels(each, each, each)).kappa
    assert found is not None and (found.value, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx(low, abs=1e-3)


def test_a_judge_that_erred_once_is_no_surer_than_one_that_never_did() -> None:
    truth = labels(60, 40, 100)
    perfect, once = agreement(truth, truth), agreement(truth, ["Caution", *truth[1:]])
    for name in ("kappa", "accuracy"):
        never, one = getattr(perfect, name), getattr(once, name)
        assert one.low < never.low
    never, one = perfect.recall["Accept"], once.recall["Accept"]
    assert never is not None and one is not None and one.low < never.low


def test_answers_to_one_prompt_are_one_piece_of_evidence() -> None:
    truth, guess = labels(20, 0, 20), labels(20, 0, 16) + ["Accept"] * 4
    alone = agreement(truth, guess, groups=[f"p{i}" for i in range(40)]).accuracy
    four = agreement(truth * 4, guess * 4, groups=[f"p{i}" for i in range(40)] * 4).accuracy
    assert alone is not None and four is not None
    assert [four.low, four.high] == pytest.approx([alone.low, alone.high]) and four.n == 160


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
