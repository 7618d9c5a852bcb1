"""No judge selects policies unless it was held against human labels: absent, failing, another judge, good."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.errors import SalusError
from pipelines.config.load import load_recipe
from pipelines.config.recipe import Recipe
from pipelines.judges.calibration_report import CalibrationReport, JudgeIdentity
from pipelines.judges.gate import check_judge_trusted, hold_judge, read_calibration
from tests.pipelines.judges.calibrated import Sharpness, bound_to, drawn, report_of

GOOD = drawn(3000, Sharpness(signal=8.0))
POOR = drawn(600, Sharpness(signal=1.0))


def recipe(*overrides: str) -> Recipe:
    folder = ["judge.source=folder", "judge.path=/models/judge", "judge.prompt=cares-v1", "judge.truth=null"]
    return load_recipe("demo", [*folder, *overrides])


@pytest.fixture(scope="module")
def good() -> CalibrationReport:
    report = bound_to(recipe(), report_of(GOOD))
    assert report.trust.trusted
    return report


@pytest.fixture(scope="module")
def poor() -> CalibrationReport:
    return bound_to(recipe(), report_of(POOR))


def refusal(of: Recipe, report: CalibrationReport | None) -> str:
    with pytest.raises(SalusError) as caught:
        check_judge_trusted(of, report)
    sentence = caught.value.sentence
    assert "--accept-unreliable-judge" in sentence
    assert "salus judge calibrate demo --labels" in sentence
    assert "\n" not in sentence and sentence.endswith(".")
    return sentence


def test_a_good_report_gives_a_note(good: CalibrationReport) -> None:
    note = check_judge_trusted(recipe(), good)
    assert note == f"{good.trust.sentence} Labels: team.csv."


def test_without_a_report_it_is_refused() -> None:
    assert "(EXT) was not held against human labels" in refusal(recipe(), None)


def test_a_failing_report_names_the_threshold(poor: CalibrationReport) -> None:
    assert "under min_kappa 0.6" in refusal(recipe(), poor)


def test_the_recipes_thresholds_count_not_the_reports(good: CalibrationReport, poor: CalibrationReport) -> None:
    assert "under min_n 5000" in refusal(recipe("judge.trust.min_n=5000"), good)
    keys = ("min_kappa", "min_accuracy", "min_refuse_recall", "min_refuse_precision", "min_accept_recall")
    loose = ["judge.trust.max_ece=1", *(f"judge.trust.{key}=0" for key in keys)]
    assert "may be trusted" in check_judge_trusted(recipe(*loose), poor)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["judge.regimen=LMA"], "regimen EXT there, LMA here"),
        (["judge.prompt=clinic-v1"], "prompt cares-v1 there, clinic-v1 here"),
        (["judge.path=/models/newer"], "ext-judge there, ext-newer here"),
    ],
)
def test_a_report_about_another_judge_is_refused(good: CalibrationReport, overrides: list[str], words: str) -> None:
    assert words in refusal(recipe(*overrides), good)


def test_rules_have_no_prompt_and_self_is_measured_once() -> None:
    rules = JudgeIdentity(name="refusal-rules", regimen="RULES", prompt="none")
    ruled, itself = recipe("judge.regimen=RULES"), recipe("judge.regimen=SELF")
    note = check_judge_trusted(ruled, bound_to(ruled, report_of(GOOD, rules), None))
    assert "refusal-rules may be trusted" in note
    own = JudgeIdentity(name="c0-base", regimen="SELF", prompt="cares-v1", model="/m")
    assert "later champions judge unmeasured" in check_judge_trusted(itself, bound_to(itself, report_of(GOOD, own)))


@pytest.mark.parametrize(
    ("measured", "reason"),
    [
        (False, "was not held against human labels (judge.calibration is not set)."),
        (True, "labels: team.csv)."),
    ],
)
def test_an_accepted_judge_is_recorded_with_the_reason(poor: CalibrationReport, measured: bool, reason: str) -> None:
    report = poor if measured else None
    with pytest.raises(SalusError):
        hold_judge(recipe(), report)
    trust = hold_judge(recipe("judge.accept_unreliable=true"), report)
    assert not trust.trusted and trust.temperature is None
    assert trust.note.startswith("Accepted all the same (--accept-unreliable-judge): ") and trust.note.endswith(reason)
    assert "salus judge calibrate" not in trust.note


def test_a_good_judge_needs_no_acceptance(good: CalibrationReport) -> None:
    assert hold_judge(recipe(), good) == hold_judge(recipe("judge.accept_unreliable=true"), good)
    assert hold_judge(recipe(), good).trusted


def test_an_ensemble_is_measured_as_one(good: CalibrationReport) -> None:
    both = recipe("judge.ensemble={also: [RULES]}")
    assert "prompt cares-v1 there, cares-v1+none here" in refusal(both, good)
    pooled = JudgeIdentity(name="ext-judge+refusal-rules", regimen="EXT", prompt="cares-v1+none")
    assert "may be trusted" in check_judge_trusted(both, bound_to(both, report_of(GOOD, pooled)))
    voted = recipe("judge.ensemble={also: [RULES], how: vote}")
    assert "pooled by mean there, by vote here" in refusal(voted, bound_to(both, report_of(GOOD, pooled)))
    other = pooled.model_copy(update={"name": "ext-judge"})
    assert "ext-judge there, ext-judge+refusal-rules here" in refusal(both, report_of(GOOD, other))


def test_the_recipe_names_its_report(good: CalibrationReport, tmp_path: Path) -> None:
    assert read_calibration(recipe()) is None
    good.write(tmp_path / "calibration.json")
    named = recipe(f"judge.calibration={tmp_path / 'calibration.json'}")
    assert read_calibration(named) == good
    with pytest.raises(SalusError, match="cannot be read"):
        read_calibration(recipe(f"judge.calibration={tmp_path / 'none.json'}"))


def test_unknown_thresholds_name_the_nearest() -> None:
    with pytest.raises(SalusError, match=r"unknown key 'judge.trust.min_kapa', did you mean 'min_kappa'"):
        recipe("judge.trust.min_kapa=0.5")
