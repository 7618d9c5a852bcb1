"""Exact intervals of shares over base prompts: against scipy, by hand, by simulation, and that failures widen them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from actors.errors import SalusError
from pipelines.measures.bootstrap import mean_interval
from pipelines.measures.shares import (
    CountedShare,
    effective_n,
    exact_interval,
    failures_allowed,
    lower_end,
    paired_rise,
    prompts_needed,
    upper_end,
)

sizes = st.lists(st.integers(1, 12), min_size=1, max_size=30)


@pytest.mark.parametrize(("hits", "n"), [(0, 1), (0, 200), (1, 200), (7, 50), (50, 50), (199, 200)])
def test_of_independent_prompts_it_is_clopper_and_pearsons(hits: int, n: int) -> None:
    found, exact = exact_interval(hits / n, n, n), stats.binomtest(hits, n).proportion_ci(0.95, "exact")
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high), abs=1e-9)


def test_the_upper_end_of_no_failure_by_hand() -> None:
    assert upper_end(0.0, 59) == pytest.approx(1 - 0.05 ** (1 / 59))
    assert upper_end(0.0, 200, 0.975) == pytest.approx(0.0183, abs=1e-4)
    assert upper_end(1.0, 5) == 1.0 and lower_end(0.0, 5) == 0.0


def test_kish_by_hand() -> None:
    assert effective_n([1] * 7) == 7
    assert effective_n([10] * 20) == 20
    # 6 answers to one request and one each to two more are worth less than two requests.
    assert effective_n([6, 1, 1]) == pytest.approx(64 / 38)


@settings(max_examples=200, deadline=None)
@given(sizes, st.data())
def test_a_failure_more_never_lowers_a_bound(per_base: list[int], data: st.DataObject) -> None:
    n = sum(per_base)
    count = data.draw(st.integers(0, n - 1))
    fewer, more = CountedShare.of(count, per_base), CountedShare.of(count + 1, per_base)
    assert more.upper > fewer.upper or fewer.upper == 1.0
    few, many = (exact_interval(one.value, one.effective_n, n) for one in (fewer, more))
    assert (few.low, few.high) <= (many.low, many.high)
    assert few.low <= few.value <= few.high


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from([0.0, 1.0]), min_size=2, max_size=40), st.integers(0, 10))
def test_the_mean_of_shares_is_monotone_too(values: list[float], which: int) -> None:
    worse = list(values)
    worse[which % len(values)] = 1.0
    before, after = (mean_interval(np.array(each), 0, clusters=[str(i // 2) for i in range(len(values))])
                     for each in (values, worse))  # fmt: skip
    assert before is not None and after is not None
    assert after.low >= before.low and after.high >= before.high


def test_a_mean_of_marks_is_never_surer_with_one_bad_row() -> None:
    """Half marks are no shares: the bootstrap knows nothing of the worse marks that no row has."""
    highs = []
    for bad in range(4):
        found = mean_interval(np.array([0.5] * bad + [0.0] * (200 - bad)), seed=1)
        assert found is not None
        highs.append(found.high)
    assert highs == sorted(highs) and highs[1] > highs[0]


@pytest.mark.parametrize(("limit", "needed"), [(0.05, 59), (0.1, 29), (0.15, 19), (0.01, 299), (0.5, 5), (1.0, 0)])
def test_how_many_prompts_a_limit_needs(limit: float, needed: int) -> None:
    assert prompts_needed(limit) == needed
    if needed:
        assert upper_end(0.0, needed) <= limit < upper_end(0.0, needed - 1) if needed > 1 else True


def test_limits_that_nothing_or_no_number_shows() -> None:
    assert prompts_needed(0.0) is None
    with pytest.raises(SalusError, match=r"1.5 is no share"):
        prompts_needed(1.5)
    assert failures_allowed(0.05, 58) is None and failures_allowed(0.05, 59) == 0
    assert failures_allowed(0.1, 198) == 12


def test_a_rise_of_nothing_is_what_so_many_prompts_can_show() -> None:
    same, bases = np.array([True] * 20 + [False] * 30), np.arange(50)
    found = paired_rise(same, same, bases)
    assert [found.value, found.low, found.high] == pytest.approx([0.0, -found.high, upper_end(0.0, 50)])
    rewritten = paired_rise(np.repeat(same, 4), np.repeat(same, 4), np.repeat(bases, 4))
    assert rewritten.high == pytest.approx(found.high)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40), st.integers(0, 39))
def test_a_prompt_that_gets_worse_never_lowers_the_bad_end(pairs: list[tuple[bool, bool]], which: int) -> None:
    before, after = (np.array(side) for side in zip(*pairs, strict=True))
    bases, worse = np.arange(len(pairs)) // 2, after.copy()
    worse[which % len(pairs)] = True
    assert paired_rise(before, worse, bases).high >= paired_rise(before, after, bases).high - 1e-12


@pytest.mark.parametrize("rewrites", [1, 5])
def test_the_bad_end_of_a_rise_holds_the_truth(rewrites: int) -> None:
    """One-sided, so it should be below the true rise of .1 in at most 5 % of samples."""
    rng = np.random.default_rng(4)
    n, missed = 60, 0
    for _ in range(400):
        draw = rng.random(n)
        # 18 % get worse, 8 % better.
        before, after = (draw < 0.08) | (draw > 0.7), ((draw >= 0.08) & (draw < 0.26)) | (draw > 0.7)
        old, new = np.repeat(before, rewrites), np.repeat(after, rewrites)
        missed += paired_rise(old, new, np.repeat(np.arange(n), rewrites)).high < 0.1
    assert missed / 400 <= 0.05
    assert math.isclose(paired_rise(np.array([False]), np.array([True]), np.array([0])).value, 1.0)
