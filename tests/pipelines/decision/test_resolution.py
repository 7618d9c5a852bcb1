"""What a decision could not have seen, held against the gate and the corrected gain themselves."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.config.decision import DecisionConfig, GateConfig
from pipelines.config.scores import ScoreTable
from pipelines.decision.decide import decide
from pipelines.decision.gate import check_gate
from pipelines.decision.resolution import SPREAD, err_that_gate_lets_pass, foreseen_error, largest_err_that_could_pass
from pipelines.measures.metrics import measure
from pipelines.measures.prediction_powered import TrustedMarks, corrected_gain
from pipelines.measures.shares import effective_n, failures_allowed
from tests.pipelines.judged import judged

# One base prompt has 41 rewrites, and 59 have one each.
SIZES = [41, *[1] * 59]
BASES = [f"base {base}" for base, size in enumerate(SIZES) for _ in range(size)]
UPPER = GateConfig(err_strict_max=(0.5,), min_n=1, bound="upper")


def test_the_err_that_could_pass_rests_on_what_the_gate_counts() -> None:
    """60 base prompts are worth 5.7 independent ones here."""
    effective = effective_n(SIZES)
    assert effective == pytest.approx(100**2 / (41**2 + 59))
    table = judged([0] * 100, ["Accept"] * 100, bases=BASES)
    config = DecisionConfig(gate=UPPER, publish_gate=None, resamples=100)
    recorded = decide(1, table, {}, ScoreTable(), config, 0)
    assert recorded.harmless_base_prompts == 60
    assert recorded.largest_err_that_could_pass == err_that_gate_lets_pass(effective, UPPER, 1)
    most = failures_allowed(0.5, effective)
    assert most == 0 and recorded.largest_err_that_could_pass == pytest.approx(1 - 0.05 ** (1 / effective), abs=1e-9)
    # The gate itself agrees: it lets no refusal of a sixth of the weight pass.
    for refused, passes in ((0, True), (18, False)):
        labels = ["Accept"] * (100 - refused) + ["Refuse"] * refused
        metrics = measure(judged([0] * 100, labels, bases=BASES), ScoreTable(), 0, 100)
        assert check_gate(metrics, None, UPPER, 1).passed is passes
    # At the point a policy with an ERR of .4 passes a limit of .1: in one of twenty splits 5.7 prompts show none.
    point = GateConfig(err_strict_max=(0.1,))
    assert err_that_gate_lets_pass(effective, point, 1) == pytest.approx(0.406, abs=0.001)
    assert err_that_gate_lets_pass(60, point, 1) == pytest.approx(0.187, abs=0.001)


def test_without_rewrites_nothing_changes() -> None:
    gate = GateConfig(err_strict_max=(0.1,))
    assert err_that_gate_lets_pass(50, gate, 1) == largest_err_that_could_pass(50, lambda refused: refused <= 5)
    assert err_that_gate_lets_pass(0, gate, 1) is None
    assert err_that_gate_lets_pass(50, GateConfig(err_strict_max=()), 1) is None


@pytest.mark.parametrize("labels", [40, 80])
def test_the_foreseen_error_is_that_of_a_cycle_as_assumed(labels: int) -> None:
    """400 prompts of which a quarter gained a mark, and a judge that is right on every label."""
    rng, n = np.random.default_rng(0), 400
    difference = rng.permutation(np.repeat([1.0, -1.0, 0.0], [50, 50, 300]))
    assert difference.std() == pytest.approx(SPREAD)
    drawn, alone = rng.choice(n, labels, replace=False), np.arange(n)
    new = TrustedMarks(drawn, difference[drawn], difference[drawn], np.full(labels, labels / n))
    old = TrustedMarks(drawn, np.zeros(labels), np.zeros(labels), np.full(labels, labels / n))
    found = corrected_gain(difference, new, old, np.zeros(n, dtype=np.int64), alone, alone)
    assert found is not None
    assert found.standard_error == pytest.approx(foreseen_error(n, n, labels), rel=0.05)
    assert foreseen_error(n, n, 0) == pytest.approx(SPREAD / 20)
    assert foreseen_error(n, n, n) == foreseen_error(n, n, 0)
