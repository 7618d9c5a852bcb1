"""The bootstrap over rows, at a cost that does not grow with the rows.

Rows that agree in everything a statistic looks at form one cell. Drawing n rows with replacement is then
exactly one draw from Multinomial(n, cell shares) (Efron and Tibshirani, An Introduction to the Bootstrap,
1993, ch. 5), so 2,000 resamples of ten million rows are 2,000 draws over a few hundred cells.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from actors.records import Interval

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

CONFIDENCE = 0.95


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
