"""Means with intervals, and the bootstrap of whole groups, against hand-computed cases and theory."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.measures import bootstrap
from pipelines.measures.bootstrap import Kinds, cluster_sums, mean_interval, resample_counts, resampled_sums


def test_no_value_has_no_mean() -> None:
    assert mean_interval(np.array([]), seed=0) is None


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from([1.0, 2.0, 3.0, 4.0, 5.0]), min_size=1, max_size=30))
def test_the_mean_lies_in_its_interval_and_in_its_range(values: list[float]) -> None:
    found = mean_interval(np.array(values), seed=1, low=1.0, high=5.0, resamples=100)
    assert found is not None
    assert found.value == pytest.approx(np.mean(values))
    assert 1.0 <= found.low <= found.value <= found.high <= 5.0
    assert found.n == len(values)


def test_unanimous_values_are_not_certain_in_any_range() -> None:
    # The exact bound of ten times the same: a share of 0.025 ** 0.1 = .6915 is sure, the rest may be 5.
    found = mean_interval(np.ones(10), seed=0, low=1.0, high=5.0)
    assert found is not None
    assert (found.value, found.low) == (1.0, 1.0)
    assert found.high == pytest.approx(1 + 4 * (1 - 0.025**0.1))


def test_groups_are_drawn_whole() -> None:
    # Two groups: each resample holds 0, 1 or 2 of each, and the columns of a group move together.
    columns = np.array([[1.0, 10.0], [2.0, 20.0], [4.0, 40.0]])
    sums = cluster_sums(columns, ["a", "a", "b"], seed=0, resamples=50)
    assert sums.shape == (50, 2)
    assert set(sums[:, 0]) == {3.0 * 2, 3.0 + 4.0, 4.0 * 2}
    assert np.array_equal(sums[:, 1], 10 * sums[:, 0])


def test_the_order_of_rows_changes_nothing() -> None:
    rng = np.random.default_rng(0)
    columns, groups = rng.integers(0, 5, (40, 1)).astype(float), [f"g{i % 7}" for i in range(40)]
    order = rng.permutation(40)
    again = cluster_sums(columns[order], [groups[i] for i in order], seed=3, resamples=130)
    assert np.allclose(cluster_sums(columns, groups, seed=3, resamples=130), again)


def test_copies_of_a_row_are_one_piece_of_evidence() -> None:
    # Each of 50 values three times over: the spread is that of 50 rows, not of 150.
    values = np.repeat(np.random.default_rng(1).integers(0, 2, 50), 3)[:, None].astype(float)
    groups = [f"g{i // 3}" for i in range(150)]
    together = cluster_sums(values, groups, seed=0).std() / 150
    apart = cluster_sums(values, [f"r{i}" for i in range(150)], seed=0).std() / 150
    assert together / apart == pytest.approx(np.sqrt(3), rel=0.1)


def test_clusters_that_hold_the_same_are_of_one_kind() -> None:
    # Clusters: {a, a, b}, {b, a, a}, {a, b}, {c}, {a, b, b}; numbered as they come.
    cells = np.array([0, 0, 1, 1, 0, 0, 0, 1, 2, 0, 1, 1])
    clusters = np.array([4, 4, 4, 0, 0, 0, 1, 1, 2, 3, 3, 3])
    kinds = Kinds.of(cells, clusters)
    held = kinds.sums(np.eye(3))
    found = {tuple(row): count for row, count in zip(held.tolist(), kinds.counts.tolist(), strict=True)}
    assert found == {(2, 1, 0): 2, (1, 1, 0): 1, (0, 0, 1): 1, (1, 2, 0): 1}
    # Neither the order of the rows nor the clusters' numbers matter.
    order = np.random.default_rng(0).permutation(len(cells))
    again = Kinds.of(cells[order], np.array([3, 1, 0, 4, 2])[clusters[order]])
    assert np.array_equal(again.sums(np.eye(3)), held) and np.array_equal(again.counts, kinds.counts)


def test_rows_alone_are_kinds_of_their_own_in_the_order_of_the_cells() -> None:
    cells = np.array([2, 0, 2, 1, 0, 2])
    kinds = Kinds.of(cells, np.arange(6))
    assert np.array_equal(kinds.sums(np.eye(3)), np.eye(3))
    assert kinds.counts.tolist() == [2, 1, 3]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), max_size=40))
def test_kinds_hold_every_row_once(rows: list[tuple[int, int]]) -> None:
    cells, clusters = (np.array([row[i] for row in rows], dtype=np.int64) for i in (0, 1))
    kinds = Kinds.of(cells, clusters)
    expected = np.bincount(cells, minlength=4) if rows else np.zeros(4)
    assert np.array_equal(kinds.counts @ kinds.sums(np.eye(4)), expected)
    assert kinds.counts.sum() == len(set(clusters.tolist()))


def test_resamples_in_chunks_are_those_of_one_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "CHUNK", 3 * 70)
    counts, sums = np.array([3, 40, 7]), np.array([[1.0, 0.5], [0.0, 2.0], [4.0, 1.0]])
    whole = resample_counts(counts, 250, np.random.default_rng(5)) @ sums
    assert np.allclose(resampled_sums(sums, counts, 250, np.random.default_rng(5)), whole, rtol=0, atol=1e-9)
