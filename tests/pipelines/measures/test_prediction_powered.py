"""The corrected gain: against the published formula, by simulation, and where few labels tell nothing.

`ppi-python` is not among the locked packages. So its formula is computed here in another way, from the papers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from pipelines.measures.bootstrap import Floats, Ints
from pipelines.measures.prediction_powered import PSEUDO_ERRORS, Estimate, TrustedMarks, corrected_gain

ALL = np.zeros(300, dtype=np.int64)


@dataclass(frozen=True)
class World:
    """What judge and truth say of two policies, (prompts,) each."""

    judged_new: Floats
    judged_old: Floats
    true_new: Floats
    true_old: Floats

    def labels(self, places: Ints, chance: float) -> tuple[TrustedMarks, TrustedMarks]:
        chances = np.full(len(places), chance)
        return (
            TrustedMarks(places, self.judged_new[places], self.true_new[places], chances),
            TrustedMarks(places, self.judged_old[places], self.true_old[places], chances),
        )

    def estimate(self, places: Ints, strata: Ints | None = None, bases: Ints | None = None) -> Estimate:
        n = len(self.judged_new)
        strata = np.zeros(n, dtype=np.int64) if strata is None else strata
        bases = np.arange(n) if bases is None else bases
        labels = self.labels(places, len(places) / n)
        found = corrected_gain(self.judged_new - self.judged_old, *labels, strata, bases, bases)
        assert found is not None
        return found


def world(n: int, rng: np.random.Generator, wrong: float = 0.3) -> World:
    """The judge gives the new policy a whole mark in some cases where the truth is none."""
    old, true = (rng.random(n) < share for share in (0.5, 0.55))
    judged = true | (rng.random(n) < wrong)
    of = [each.astype(np.float64) for each in (judged, old, true, old)]
    return World(*of)


def test_the_estimate_is_the_published_one() -> None:
    """PPI++ of a mean (arXiv 2311.01453, eq. 3): l * mean(f) over all + mean(y - l * f) over the labelled."""
    rng = np.random.default_rng(1)
    of = world(300, rng)
    places = rng.choice(300, 90, replace=False)
    found = of.estimate(places)
    f, y = of.judged_new - of.judged_old, of.true_new - of.true_old
    by_hand = found.tuning * f.mean() + (y - found.tuning * f)[places].mean()
    assert found.gain == pytest.approx(by_hand, abs=1e-12)
    assert 0.0 < found.tuning < 1.0


def test_the_tuning_makes_the_variance_least() -> None:
    """That of two-phase sampling, by its textbook formula: var(y) / N + (1 / n - 1 / N) var(y - l f)."""
    rng = np.random.default_rng(2)
    of = world(4000, rng)
    places = rng.choice(4000, 800, replace=False)
    found = of.estimate(places)
    f, y = (of.judged_new - of.judged_old)[places], (of.true_new - of.true_old)[places]

    def variance(tuning: float) -> float:
        return float(y.var(ddof=1) / 4000 + (1 / 800 - 1 / 4000) * (y - tuning * f).var(ddof=1))

    grid = np.linspace(0.0, 1.0, 1001)
    assert found.tuning == pytest.approx(grid[np.argmin([variance(t) for t in grid])], abs=0.03)
    floor = (1.0 - 800 / 4000) * PSEUDO_ERRORS / 800**2
    assert found.standard_error**2 - floor == pytest.approx(variance(found.tuning), rel=0.05)


@pytest.mark.parametrize("wrong", [0.05, 0.3])
def test_the_interval_holds_the_truth_though_the_judge_is_biased(wrong: float) -> None:
    rng = np.random.default_rng(3)
    expected = 0.05
    held, uncorrected = 0, 0
    for _ in range(600):
        of = world(400, rng, wrong)
        low, high = of.estimate(rng.choice(400, 40, replace=False)).interval(0.95)
        held += low <= expected <= high
        f = of.judged_new - of.judged_old
        uncorrected += abs(f.mean() - expected) <= 1.96 * f.std() / 20.0
    assert held / 600 >= 0.94
    assert uncorrected / 600 <= (0.9 if wrong < 0.1 else 0.1)


def test_labels_that_are_all_right_do_not_claim_certainty() -> None:
    n = 300
    same = World(np.ones(n), np.zeros(n), np.ones(n), np.zeros(n))
    few, more = (same.estimate(np.arange(count)) for count in (40, 150))
    # Nothing varies, so that the floor alone is left: 2 / n, less what is labelled already.
    assert few.gain == more.gain == 1.0
    assert few.standard_error == pytest.approx(2.0 / 40 * np.sqrt(1 - 40 / n))
    # The bound that holds of any judge (Clopper and Pearson): 40 right labels leave 7 % of wrong ones open.
    assert few.bound(0.05) <= 1.0 - (1.0 - 0.05 ** (1 / 40)) + 1e-9 < more.bound(0.05)


def test_labels_of_all_answers_leave_nothing_to_the_judge() -> None:
    rng = np.random.default_rng(4)
    of = world(300, rng)
    found = of.estimate(np.arange(300))
    y = of.true_new - of.true_old
    assert found.gain == pytest.approx(y.mean())
    assert found.standard_error == pytest.approx(y.std() / np.sqrt(299), rel=1e-3)


def test_rewrites_of_one_base_prompt_are_no_further_evidence() -> None:
    rng = np.random.default_rng(5)
    of = world(100, rng)
    places = rng.choice(100, 40, replace=False)
    alone = of.estimate(places)
    ten = World(*(np.repeat(each, 10) for each in (of.judged_new, of.judged_old, of.true_new, of.true_old)))
    all_ten = (places[:, None] * 10 + np.arange(10)).ravel()
    together = ten.estimate(all_ten, bases=np.repeat(np.arange(100), 10))
    assert together.gain == pytest.approx(alone.gain, rel=0.01)
    assert together.standard_error == pytest.approx(alone.standard_error, rel=0.02)
    assert ten.estimate(all_ten).standard_error < 0.4 * alone.standard_error


def test_a_stratum_counts_by_its_share_of_the_prompts_however_many_are_labelled() -> None:
    rng = np.random.default_rng(6)
    strata = np.repeat([0, 1], [200, 100])
    # The judge is right in stratum 0, and wrong by a mark in stratum 1.
    of = World(np.ones(300), np.zeros(300), np.where(strata == 1, 0.0, 1.0), np.zeros(300))
    places = np.concatenate([rng.choice(200, 10, replace=False), 200 + rng.choice(100, 30, replace=False)])
    assert of.estimate(places, strata).gain == pytest.approx(2 / 3)
    assert of.estimate(places).gain == pytest.approx(0.25)


def test_without_labels_in_a_stratum_there_is_no_estimate() -> None:
    rng = np.random.default_rng(7)
    of, places = world(300, rng), np.arange(40)
    strata = np.repeat([0, 1], [200, 100])
    labels = of.labels(places, 0.2)
    assert corrected_gain(of.judged_new - of.judged_old, *labels, strata, np.arange(300), np.arange(300)) is None
    # One cluster has no spread to reckon with.
    assert corrected_gain(of.judged_new - of.judged_old, *labels, ALL, ALL, np.arange(300)) is None
