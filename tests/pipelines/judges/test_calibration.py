"""Temperature scaling: it finds the known one, never sees the prompts it is reported on, and is written down."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.errors import SalusError
from pipelines.config.judge import TrustThresholds
from pipelines.judges.calibration import (
    COLDEST,
    HOTTEST,
    JudgedAnswers,
    calibrate,
    fit_part,
    fit_temperature,
    tempered,
)
from pipelines.judges.calibration_report import CalibrationReport
from tests.pipelines.judges.calibrated import EXT, Sharpness, drawn, report_of

ONE = np.array([[0.2, 0.2, 0.6]])


@pytest.mark.parametrize("overconfidence", [0.5, 1.0, 3.0])
def test_a_known_temperature_is_found(overconfidence: float) -> None:
    found = report_of(drawn(12_000, Sharpness(overconfidence=overconfidence)))
    assert found.temperature == pytest.approx(overconfidence, rel=0.06)
    assert found.after is not None and found.after.ece.value < 0.03


def test_it_mends_overconfidence_and_leaves_the_labels() -> None:
    answers = drawn(3000, Sharpness(overconfidence=4.0))
    found = report_of(answers)
    assert found.before is not None and found.after is not None and found.temperature is not None
    assert found.before.ece.value > 0.1 > found.after.ece.high
    assert found.after.nll.value < found.before.nll.value
    assert found.after.brier.value < found.before.brier.value
    after = tempered(answers.probabilities, found.temperature)
    assert np.array_equal(after.argmax(axis=1), answers.probabilities.argmax(axis=1))
    assert np.allclose(after.sum(axis=1), 1.0)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 60))
def test_no_prompt_is_on_both_sides(seed: int, prompts: int) -> None:
    ids = [f"p{i % prompts}" for i in range(3 * prompts)]
    part = fit_part(ids, seed)
    fitted = {name for name, inside in zip(ids, part, strict=True) if inside}
    reported = {name for name, inside in zip(ids, part, strict=True) if not inside}
    assert not fitted & reported
    assert len(fitted) == prompts // 2
    assert np.array_equal(fit_part(list(reversed(ids)), seed), part[::-1])


def test_the_reported_half_does_not_move_the_temperature() -> None:
    answers = drawn(600, Sharpness(overconfidence=2.0))
    part = fit_part(answers.prompt_ids, 0)
    turned = np.where(part[:, None], answers.probabilities, answers.probabilities[:, ::-1])
    changed = JudgedAnswers(answers.prompt_ids, answers.human, answers.predicted, turned)
    assert report_of(changed).temperature == report_of(answers).temperature


def test_other_seeds_split_otherwise() -> None:
    ids = [f"p{i}" for i in range(100)]
    assert not np.array_equal(fit_part(ids, 0), fit_part(ids, 1))


def test_the_temperature_is_bounded() -> None:
    p = np.array([[0.2, 0.2, 0.6]] * 10)
    always, never = np.full(10, 2), np.zeros(10, dtype=np.int64)
    assert fit_temperature(p, always) == pytest.approx(COLDEST, rel=1e-3)
    assert fit_temperature(p, never) == pytest.approx(HOTTEST, rel=1e-3)
    assert tempered(ONE, 1.0) == pytest.approx(ONE)


def test_missing_verdicts_lower_the_coverage_alone() -> None:
    answers = drawn(900, Sharpness(missing=0.3))
    found = report_of(answers)
    labelled = sum(label is not None for label in answers.predicted)
    assert found.before is not None
    assert (found.n, found.agreement.n, found.prompts) == (900, labelled, 300)
    assert found.n_fit + found.before.n == labelled
    assert "coverage" in found.trust.sentence and not found.trust.trusted


def test_a_judge_without_a_verdict_is_reported_not_trusted() -> None:
    answers = drawn(300, Sharpness(missing=1.0))
    nan = np.full_like(answers.probabilities, np.nan)
    found = report_of(JudgedAnswers(answers.prompt_ids, answers.human, answers.predicted, nan))
    assert (found.temperature, found.before, found.after, found.trust.trusted) == (None, None, None, False)
    assert "calibration error (upper end) cannot be told" in found.trust.sentence


def test_one_prompt_cannot_be_split() -> None:
    assert report_of(drawn(3, Sharpness())).temperature is None


def test_same_seed_same_report_written_and_read(tmp_path: Path) -> None:
    answers = drawn(300, Sharpness())
    found = report_of(answers)
    assert report_of(answers) == found
    assert calibrate(answers, EXT, "team.csv", TrustThresholds(), seed=1) != found
    found.write(tmp_path / "folder" / "calibration.json")
    assert CalibrationReport.read(tmp_path / "folder" / "calibration.json") == found


def test_what_is_no_report_is_named(tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    with pytest.raises(SalusError, match=r"cannot be read.*run salus judge calibrate again"):
        CalibrationReport.read(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(SalusError, match="cannot be read"):
        CalibrationReport.read(path)
    for text in ("{", '{"judge": 3}'):
        path.write_text(text)
        with pytest.raises(SalusError, match="is not a calibration report"):
            CalibrationReport.read(path)


def test_bad_input_is_one_sentence() -> None:
    with pytest.raises(SalusError, match="no human-labelled answers"):
        report_of(JudgedAnswers([], [], [], np.zeros((0, 3))))
    with pytest.raises(SalusError, match=r"shape \(1, 2\)"):
        report_of(JudgedAnswers(["p"], ["Accept"], ["Accept"], np.array([[0.5, 0.5]])))
    with pytest.raises(SalusError, match="2 prompt ids"):
        report_of(JudgedAnswers(["p", "q"], ["Accept"], ["Accept"], ONE))
    for p in ([[0.5, 0.5, 0.5]], [[np.nan, 0.5, 0.5]], [[-0.5, 0.5, 1.0]]):
        with pytest.raises(SalusError, match="do not sum to 1"):
            report_of(JudgedAnswers(["p"], ["Accept"], ["Accept"], np.array(p)))
