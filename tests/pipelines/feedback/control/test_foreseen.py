"""What `salus plan` says of the decisions of a run: the gain they find, the ERR that could pass, the reference."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.decision.resolution import detectable_gain, foreseen_error
from pipelines.feedback.control.foreseen import decision_lines
from tests.pipelines.feedback.control.contenders import LEVELS, recipe
from tests.pipelines.judged import judged

PROMPTS = judged(LEVELS, [None] * len(LEVELS))


def lines(labels: Path, *changes: str) -> list[str]:
    return list(decision_lines(recipe(labels, *changes), PROMPTS))


def test_the_gain_is_that_of_so_many_prompts_and_labels(tmp_path: Path) -> None:
    gain, err, reference = lines(tmp_path, "decide.cluster=base_prompt")
    found = detectable_gain(foreseen_error(120, 120, 40), 0.0125)
    assert f"finds a gain in SS of {found:.2f} in 80 % of cases, at alpha 0.025 for 2 challenger(s)" in gain
    assert "Assumed: 120 prompts; marks" in gain and "right on all 40 control answers of each policy" in gain
    assert "60 harmless base prompts, worth 60 independent ones" in err and "ERR has no limit" in err
    assert "are labelled by people" in reference and f"labels are in {tmp_path}" in reference
    assert "the run stops" in reference


def test_an_err_that_could_pass_is_told(tmp_path: Path) -> None:
    _, err, _ = lines(tmp_path, "decide.publish_gate={err_strict_max: [0.15]}")
    assert "a policy with a true ERR of 0.146 would still pass in one of twenty splits" in err
    _, none, _ = lines(tmp_path, "decide.publish_gate={err_strict_max: [0.01]}")
    assert none.endswith("no ERR could pass")


def test_alike_prompts_of_a_cluster_are_worth_less(tmp_path: Path) -> None:
    by_base = judged(LEVELS, [None] * 120, bases=[f"b{i // 4}" for i in range(120)])
    gain = next(decision_lines(recipe(tmp_path, "decide.cluster=base_prompt"), by_base))
    assert "which are worth 30 where those of one base prompt are all alike" in gain and " to " in gain


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            ["decide.control.reference=auto"],
            "no one labels the contenders' answers, so no gain is corrected, and nothing",
        ),
        (["decide.control.reference=auto", "decide.publish_uncorrected=true"], "winners are published all the same"),
        (["decide.control.reference=auto", "judge.truth=clinic"], "are labelled by ground truth"),
        (["decide.control.late=stay"], "where too few are labelled by then, the champion stays"),
        (
            ["decide.control={judge: {regimen: RULES, accept_unreliable: true}}"],
            "labelled by a second judge (judge refusal-rules, not calibrated)",
        ),
    ],
)
def test_the_reference_is_named(tmp_path: Path, changes: list[str], told: str) -> None:
    assert told in lines(tmp_path, *changes)[-1]
    # Also before the prompts are here.
    (alone,) = decision_lines(recipe(tmp_path, *changes), None)
    assert told in alone
