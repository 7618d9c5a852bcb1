"""The rule keeps its word: on simulated runs neither chance nor a wrong judge replaces the champion too often."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from actors.contract.records import LABELS, ChallengerName, Label
from actors.contract.seeds import derive_seed
from pipelines.config.decision import DecisionConfig, GateConfig
from pipelines.config.scores import ScoreTable
from pipelines.decision.control import control_labels
from pipelines.decision.decide import decide
from tests.benchmarks.decision_power import (
    Scenario,
    chosen,
    control_sample,
    draw_biased,
    draw_cycle,
    gate_passed,
    promoted,
    replaced,
)

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


def said(answer: str) -> Label:
    """The simulated answers say what they are."""
    return next(label for label in LABELS if answer.endswith(label))


@pytest.mark.parametrize("biased", [True, False])
def test_the_simulated_choice_by_control_labels_is_the_rules_own(biased: bool) -> None:
    config = DecisionConfig(gate=OPEN, resamples=RESAMPLES)
    rng = np.random.default_rng(4)
    found = set()
    for seed in range(12):
        scenario = Scenario(400, effect=0.0 if biased else 0.17)
        cycle = draw_biased(scenario, rng) if biased else draw_cycle(scenario, rng)
        places, chances = control_sample(cycle.levels, 40, np.random.default_rng(derive_seed(seed, "control")))
        drawn = pa.table({"prompt_id": [f"p{i:06d}" for i in places], "inclusion_probability": pa.array(chances)})
        tables = {name: cycle.judged(name) for name in ("champion", "kto", "dpo")}
        control = pa.concat_tables(control_labels(n, table, drawn, "clinic", said) for n, table in tables.items())
        challengers: dict[ChallengerName, pa.Table] = {"kto": tables["kto"], "dpo": tables["dpo"]}
        decision = decide(1, tables["champion"], challengers, ScoreTable(), config, seed, control=control)
        assert decision.chosen == chosen(cycle, seed, RESAMPLES, labels=40)
        found.add(decision.chosen)
    assert found == {"champion"} if biased else "kto" in found


def test_a_run_replaces_its_champion_by_chance_in_at_most_five_percent() -> None:
    low, _ = promoted(Scenario(250), 200, seed=0, resamples=RESAMPLES).interval
    assert low <= 0.05
    # Five cycles that may each spend all of it are what earlier versions were.
    low, _ = promoted(Scenario(250), 200, seed=0, resamples=RESAMPLES, spend=False).interval
    assert low > 0.05


def test_a_biased_judge_wins_where_no_label_is_held_against_it_and_else_in_at_most_one_percent() -> None:
    assert promoted(Scenario(1000), 20, seed=0, resamples=RESAMPLES, biased=True).value > 0.9
    assert promoted(Scenario(1000), 100, seed=0, resamples=RESAMPLES, labels=40, biased=True).value <= 0.01
    assert promoted(Scenario(400, rewrites=10), 100, seed=0, resamples=RESAMPLES, labels=40, biased=True).value <= 0.01


@pytest.mark.parametrize("rewrites", [1, 10])
def test_an_err_of_twice_the_gate_passes_in_at_most_one_percent(rewrites: int) -> None:
    for harmless in (50, 200, 500, 2000):
        assert gate_passed(harmless, 0.10, 0.05, rewrites) <= 0.01
    # The share itself passes in one of nine splits of 50, and ten rewrites make it one of three.
    assert gate_passed(50, 0.10, 0.05, bound=False) == pytest.approx(0.11, abs=0.01)
    assert gate_passed(100, 0.10, 0.05, 10, bound=False) == pytest.approx(0.35, abs=0.01)
