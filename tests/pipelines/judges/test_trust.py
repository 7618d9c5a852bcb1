"""The verdict: each threshold on the cautious side of its interval, and a sentence that says by how much."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from actors.contract.records import LABELS, Interval
from pipelines.config.judge import TrustThresholds
from pipelines.judges.trust import decide_trust
from pipelines.measures.agreement import Agreement, agreement

LIMITS = TrustThresholds()
CALIBRATED = Interval(value=0.03, low=0.02, high=0.05, n=150)


def quality(right: int, wrong: int, missing: int = 0) -> Agreement:
    """Labels in turn; the wrong ones are one label further."""
    truth = [LABELS[i % 3] for i in range(right + wrong + missing)]
    guess: list[str | None] = list(truth[:right])
    guess += [LABELS[(i + 1) % 3] for i in range(right, right + wrong)]
    return agreement(truth, guess + [None] * missing)


def test_a_good_judge_is_trusted() -> None:
    found = decide_trust("ext-7", quality(285, 15), CALIBRATED, LIMITS)
    assert found.trusted
    assert found.sentence.startswith("ext-7 may be trusted to select policies: kappa (lower end) 0.8")
    assert found.sentence.endswith("n 300, coverage 1.")


def test_it_is_the_lower_end_that_counts() -> None:
    # Accuracy .82 passes as a figure, its lower end .775 does not.
    found = decide_trust("ext-7", quality(246, 54), CALIBRATED, LIMITS)
    assert not found.trusted
    assert "accuracy (lower end) is 0.77" in found.sentence
    assert "under min_accuracy 0.8" in found.sentence
    assert "kappa" not in found.sentence


def test_it_is_the_upper_end_of_the_calibration_error() -> None:
    ece = Interval(value=0.08, low=0.06, high=0.125, n=150)
    found = decide_trust("ext-7", quality(285, 15), ece, LIMITS)
    assert found.sentence == (
        "ext-7 may not be trusted to select policies: calibration error (upper end) is 0.125, 0.025 over max_ece 0.1."
    )


def test_too_few_or_too_many_missing() -> None:
    few = decide_trust("j", quality(148, 2), CALIBRATED, LIMITS)
    assert not few.trusted and "n is 150, 50 under min_n 200" in few.sentence
    missing = decide_trust("j", quality(290, 10, missing=100), CALIBRATED, LIMITS)
    assert "coverage is 0.75, 0.05 under min_coverage 0.8" in missing.sentence


def test_what_cannot_be_told_is_not_trusted() -> None:
    # One label only: kappa and the recall of Refuse are not defined.
    found = decide_trust("j", agreement(["Accept"] * 300, ["Accept"] * 300), None, LIMITS)
    assert not found.trusted
    for words in ("kappa (lower end) cannot be told (min_kappa 0.6)", "recall of Refuse", "calibration error"):
        assert words in found.sentence


def test_thresholds_are_checked() -> None:
    loose = TrustThresholds(min_kappa=-1, min_accuracy=0, max_ece=1, min_refuse_recall=0, min_n=1, min_coverage=0)
    assert decide_trust("j", quality(3, 30), CALIBRATED, loose).trusted
    for wrong in ({"min_kappa": 2}, {"max_ece": -0.1}, {"min_n": 0}, {"min_kapa": 0.5}):
        with pytest.raises(ValidationError):
            TrustThresholds.model_validate(wrong)
