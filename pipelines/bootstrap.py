"""The bootstrap over rows, at a cost that does not grow with the rows.

Rows that agree in everything a statistic looks at form one cell. Drawing n rows with replacement is then
exactly one draw from Multinomial(n, cell shares) (Efron and Tibshirani, An Introduction to the Bootstrap,
1993, ch. 5), so 2,000 resamples of ten million rows are 2,000 draws over a few hundred cells.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from actors.records import Interval

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

CONFIDENCE = 0.95
RESAMPLES = 2000
# Resamples of groups drawn at a time, which bounds the memory of many groups.
CHUNK = 100


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


def unanimous_interval(value: float, n: int, confidence: float = CONFIDENCE) -> Interval:
    """The interval of a mean in [0, 1] when all n rows have the same value.

    The bootstrap then knows no spread and would claim certainty from three rows. The exact
    (Clopper-Pearson) bound says: with the given confidence at least a share `(alpha/2)**(1/n)` of all rows
    has this value; the rest may lie anywhere in [0, 1]. (Hanley and Lippman-Hand, JAMA 1983, "If nothing
    goes wrong, is everything all right?".)
    """
    share = ((1.0 - confidence) / 2.0) ** (1.0 / n)
    # Not `value * share + 1 - share`, which rounding can put outside [value, 1].
    return Interval(value=value, low=value * share, high=value + (1.0 - value) * (1.0 - share), n=n)


def percentile_interval(value: float, draws: Floats, n: int, confidence: float = CONFIDENCE) -> Interval:
    """The percentile interval (Efron and Tibshirani 1993, ch. 13), without NaN draws (an empty class)."""
    tail = 100.0 * (1.0 - confidence) / 2.0
    low, high = np.nanpercentile(draws, [tail, 100.0 - tail])
    return Interval(value=value, low=min(float(low), value), high=max(float(high), value), n=n)


def mean_interval(
    values: Floats, seed: int, low: float = 0.0, high: float = 1.0, resamples: int = RESAMPLES
) -> Interval | None:
    """The mean of values from a few distinct ones (marks, credits, scores) with its interval; None without any.

    Args:
        values: shape (rows,), within [low, high], never NaN.
        seed: of the bootstrap.
        low: the least a value can be.
        high: the most a value can be.
        resamples: bootstrap samples.
    """
    if not len(values):
        return None
    kinds, counts = np.unique(values, return_counts=True)
    n, point = len(values), float(kinds @ counts) / len(values)
    if len(kinds) == 1:
        unit = unanimous_interval((point - low) / (high - low), n)
        ends = (low + (high - low) * end for end in (unit.low, unit.high))
        return Interval(value=point, low=min(next(ends), point), high=max(next(ends), point), n=n)
    draws = resample_counts(counts, resamples, np.random.default_rng(seed))
    return percentile_interval(point, draws @ kinds / n, n)


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
    rng, ones = np.random.default_rng(seed), np.ones(len(names), dtype=np.int64)
    sizes = [min(CHUNK, resamples - start) for start in range(0, resamples, CHUNK)]
    return np.concatenate([resample_counts(ones, size, rng) @ sums for size in sizes])
