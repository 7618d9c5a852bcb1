"""The rule keeps its word: on simulated cycles without an effect chance replaces the champion in at most 5 %."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from actors.contract.records import ChallengerName
from pipelines.config.decision import DecisionConfig, GateConfig
from pipelines.config.scores import ScoreTable
from pipelines.decision.decide import decide
from tests.benchmarks.decision_power import Scenario, chosen, draw_cycle, replaced

OPEN = GateConfig(err_strict_max=(), min_n=1, max_repetition=None, max_length_ratio=None, min_coverage=0.0)
# Fewer resamples cost power, not honesty: p counts the observed sample among them.
RESAMPLES = 199


@pytest.mark.parametrize("rewrites", [1, 3])
def test_the_simulation_says_what_it_simulates(rewrites: int) -> None:
    rng = np.random.default_rng(1)
    cycle = draw_cycle(Scenario(120_000, effect=0.05, agreement=0.9, rewrites=rewrites), rng)
    champion, kto, dpo = cycle.marks.mean(axis=1)
    assert (kto - champion, dpo - champion) == pytest.approx((0.05, 0.0), abs=0.006)
    assert (cycle.labels[0] == cycle.labels[2]).mean() == pytest.approx(0.9, abs=0.006)
    assert len(np.unique(cycle.bases)) == 120_000 / rewrites


@pytest.mark.parametrize("scenario", [Scenario(120), Scenario(120, 0.12), Scenario(120, 0.12, rewrites=3)])
def test_the_simulated_choice_is_the_rules_own(scenario: Scenario) -> None:
    config = DecisionConfig(gate=OPEN, resamples=RESAMPLES)
    rng = np.random.default_rng(2)
    for seed in range(12):
        cycle = draw_cycle(scenario, rng)
        challengers: dict[ChallengerName, pa.Table] = {"kto": cycle.judged("kto"), "dpo": cycle.judged("dpo")}
        decision = decide(1, cycle.judged("champion"), challengers, ScoreTable(), config, seed)
        assert decision.chosen == chosen(cycle, seed, RESAMPLES)


@pytest.mark.parametrize(
    ("scenario", "cycles"),
    [
        (Scenario(250), 2000),
        # Hardly a prompt differs, which is where the bootstrap alone is too bold.
        (Scenario(100, agreement=0.98), 500),
        (Scenario(250, agreement=0.75), 500),
        (Scenario(240, rewrites=4), 1000),
    ],
)
def test_no_effect_replaces_in_at_most_5_percent(scenario: Scenario, cycles: int) -> None:
    # Measured: 0 to 3 %. The bound is the exact one: a rule that kept to 5 % would fall above it once in 40 tests.
    low, _ = replaced(scenario, cycles, seed=0, resamples=RESAMPLES).interval
    assert low <= 0.05


def test_a_rule_that_took_rewrites_for_independent_would_be_found_out() -> None:
    low, _ = replaced(Scenario(240, rewrites=4), 300, seed=0, resamples=RESAMPLES, alone=True).interval
    assert low > 0.15


def test_power_grows_with_the_prompts() -> None:
    """A gain of 5 points; measured with 2,000 cycles: see README, "How sure a decision is"."""
    few, more, many = (
        replaced(Scenario(prompts, effect=0.05), cycles, seed=0, resamples=RESAMPLES).value
        for prompts, cycles in ((250, 300), (1000, 150), (4000, 60))
    )
    assert 0.4 < few < more
    assert more > 0.9
    assert many >= 0.95
