"""The bootstrap over rows, or over clusters of rows, at a cost that does not grow with their number.

Rows that agree in everything a statistic looks at form one cell. Drawing n rows with replacement is then
exactly one draw from Multinomial(n, cell shares) (Efron and Tibshirani, An Introduction to the Bootstrap,
1993, ch. 5), so 2,000 resamples of ten million rows are 2,000 draws over a few hundred cells. The same holds of
clusters that hold as many rows of each cell (`Kinds`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from actors.contract.records import Interval
from pipelines.measures import shares

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

CONFIDENCE = shares.CONFIDENCE
RESAMPLES = 2000
# Counts drawn at a time, which bounds the memory of many groups.
CHUNK = 4_000_000


def resample_counts(counts: Ints, resamples: int, rng: np.random.Generator) -> Floats:
    """How often each cell occurs in each resample.

    Args:
        counts: rows per cell, shape (cells,).
        resamples: number of bootstrap samples.
        rng: the only source of chance.

    Returns:
        Shape (resamples, cells); every row sums to the number of rows.
    """
    total = int(counts.sum())
    return rng.multinomial(total, counts / total, size=resamples).astype(np.float64)


def resampled_sums(sums: Floats, counts: Ints, resamples: int, rng: np.random.Generator) -> Floats:
    """Column sums in resamples of whole clusters.

    Args:
        sums: what one cluster of each kind adds, shape (kinds, columns).
        counts: clusters of each kind, shape (kinds,).
        resamples: bootstrap samples.
        rng: the only source of chance.

    Returns:
        Shape (resamples, columns).
    """
    step = max(1, CHUNK // len(counts))
    sizes = [min(step, resamples - start) for start in range(0, resamples, step)]
    return np.concatenate([resample_counts(counts, size, rng) @ sums for size in sizes])


@dataclass(frozen=True)
class Kinds:
    """Clusters of rows, told apart by how many rows of each cell they hold and by nothing else.

    Where every cluster is one row, the kinds are the cells, in their order.
    """

    # What one cluster of a kind holds: so many rows of a cell, in order of kind and cell. All of shape (entries,).
    kind: Ints
    cell: Ints
    rows: Ints
    # Clusters of each kind, shape (kinds,).
    counts: Ints

    @classmethod
    def of(cls, cells: Ints, clusters: Ints) -> Self:
        """The kinds of some rows' clusters.

        Args:
            cells: a number for the cell of each row, from 0, shape (rows,).
            clusters: a number for the cluster of each, from 0, shape (rows,); which number means nothing.
        """
        width = int(cells.max(initial=0)) + 1
        pairs, rows = np.unique(clusters * width + cells, return_counts=True)
        cluster, cell = np.divmod(pairs, width)
        _, first, entries = np.unique(cluster, return_index=True, return_counts=True)
        _, token = np.unique(cell * (int(rows.max(initial=0)) + 1) + rows, return_inverse=True)
        kind = _numbered(token, first, entries)
        _, found, counts = np.unique(kind, return_index=True, return_counts=True)
        # Of each kind one cluster's entries: as many as it has, from its first on.
        of_kind = np.repeat(np.arange(len(found)), entries[found])
        place = np.arange(len(of_kind)) - np.repeat(np.cumsum(entries[found]) - entries[found], entries[found])
        at = first[found][of_kind] + place
        return cls(of_kind, cell[at], rows[at], counts)

    def sums(self, values: Floats) -> Floats:
        """What one cluster of each kind adds to column sums, shape (kinds, columns); `values`: (cells, columns)."""
        sums = np.zeros((len(self.counts), values.shape[1]))
        np.add.at(sums, self.kind, values[self.cell] * self.rows[:, None])
        return sums


def _numbered(token: Ints, first: Ints, entries: Ints) -> Ints:
    """A number for each run of tokens, equal where the runs are, in the order of the tokens.

    `first`, `entries`: where each run begins and how long it is.
    """
    number, width = np.zeros(len(first), dtype=np.int64), int(token.max(initial=0)) + 2
    for place in range(int(entries.max(initial=0))):
        longer = entries > place
        step = np.zeros(len(first), dtype=np.int64)
        step[longer] = token[first[longer] + place] + 1
        _, number = np.unique(number * width + step, return_inverse=True)
    return number


def unanimous_interval(value: float, effective: float, n: int, confidence: float = CONFIDENCE) -> Interval:
    """The interval of a mean in [0, 1] when all rows have the same value.

    The bootstrap then knows no spread and would claim certainty from three rows. The exact (Clopper-Pearson) bound
    says: with the given confidence at least a share `(alpha/2)**(1/effective)` of all rows has this value. The rest
    may be anywhere in [0, 1]. (Hanley and Lippman-Hand, JAMA 1983, "If nothing goes wrong, is everything all right?".)

    Args:
        value: of every row.
        effective: independent rows they are worth (`pipelines.measures.shares.effective_n`).
        n: rows.
        confidence: of the interval.
    """
    share = ((1.0 - confidence) / 2.0) ** (1.0 / effective)
    # Not `value * share + 1 - share`, which rounding can put outside [value, 1].
    return Interval(value=value, low=value * share, high=value + (1.0 - value) * (1.0 - share), n=n)


def widened(found: Interval, floor: Interval) -> Interval:
    """An interval at least as wide as another of the same figure.

    A bootstrap knows of no value that was not drawn. With one bad row in 200 it gives a tighter bound than no bad row
    has: the unanimous interval is therefore the least that any mean gets.
    """
    return found.model_copy(update={"low": min(found.low, floor.low), "high": max(found.high, floor.high)})


def percentile_interval(value: float, draws: Floats, n: int, confidence: float = CONFIDENCE) -> Interval:
    """The percentile interval (Efron and Tibshirani 1993, ch. 13), without NaN draws (an empty class)."""
    tail = 100.0 * (1.0 - confidence) / 2.0
    low, high = np.nanpercentile(draws, [tail, 100.0 - tail])
    return Interval(value=value, low=min(float(low), value), high=max(float(high), value), n=n)


def mean_interval(
    values: Floats,
    seed: int,
    low: float = 0.0,
    high: float = 1.0,
    resamples: int = RESAMPLES,
    clusters: Sequence[str] | None = None,
) -> Interval | None:
    """The mean of values from a few distinct ones (marks, credits, scores) with its interval; None without any.

    Where every value is one of the two ends, the mean is a share and its interval exact.

    Args:
        values: shape (rows,), within [low, high], never NaN.
        seed: of the bootstrap.
        low: the least a value can be.
        high: the most a value can be.
        resamples: bootstrap samples.
        clusters: of each row, as its base prompt: they are resampled whole. None: each row is one.
    """
    if not len(values):
        return None
    kinds, cells, counts = np.unique(values, return_inverse=True, return_counts=True)
    n, point = len(values), float(kinds @ counts) / len(values)
    names: Ints = np.arange(n) if clusters is None else np.unique(np.asarray(clusters), return_inverse=True)[1]
    effective = shares.effective_n(np.bincount(names))
    unit = (point - low) / (high - low)
    if np.isin(kinds, (low, high)).all():
        return _scaled(shares.exact_interval(unit, effective, n), low, high, point)
    floor = _scaled(unanimous_interval(unit, effective, n), low, high, point)
    if len(kinds) == 1:
        return floor
    alike = Kinds.of(cells, names)
    sums = alike.sums(np.stack([kinds, np.ones(len(kinds))], axis=1))
    draws = resampled_sums(sums, alike.counts, resamples, np.random.default_rng(seed))
    return widened(percentile_interval(point, draws[:, 0] / draws[:, 1], n), floor)


def _scaled(unit: Interval, low: float, high: float, value: float) -> Interval:
    """An interval in [0, 1] as one of a mean in [low, high]."""
    ends = (low + (high - low) * end for end in (unit.low, unit.high))
    return Interval(value=value, low=min(next(ends), value), high=max(next(ends), value), n=unit.n)


def cluster_sums(columns: Floats, groups: Sequence[str], seed: int, resamples: int = RESAMPLES) -> Floats:
    """Column sums in resamples of whole groups: rows of one group are alike, so they are drawn together.

    Drawing rows alone would take three answers to one prompt for three prompts' worth of evidence.
    (The cluster bootstrap: Davison and Hinkley, Bootstrap Methods and their Application, 1997, sec. 3.8.)

    Args:
        columns: shape (rows, columns); any statistic that is a ratio of sums can be made from them.
        groups: the group of each row, at least one.
        seed: of the draws, which depend on the groups' names and not on the order of the rows.
        resamples: bootstrap samples.

    Returns:
        Shape (resamples, columns).
    """
    names, index = np.unique(np.asarray(groups), return_inverse=True)
    sums = np.zeros((len(names), columns.shape[1]))
    np.add.at(sums, index, columns)
    return resampled_sums(sums, np.ones(len(names), dtype=np.int64), resamples, np.random.default_rng(seed))
