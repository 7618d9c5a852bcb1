"""How far people who label the same answers are of one mind: by any number of reviewers, some answers by more."""

from __future__ import annotations

import numpy as np

from actors.contract.records import Interval
from pipelines.measures.agreement import Ints, kappa
from pipelines.measures.bootstrap import RESAMPLES, Floats, percentile_interval, resampled_sums, widened
from pipelines.measures.shares import exact_interval


def unanimous_share(counts: Ints) -> Interval:
    """The share of answers whose reviewers all gave one label, with its exact 95 % interval.

    Args:
        counts: labels of each kind that each answer got, shape (answers, labels); every answer has at least two.
    """
    n = len(counts)
    return exact_interval(float((counts.max(axis=1) == counts.sum(axis=1)).mean()), n, n)


def krippendorff_alpha(counts: Ints, seed: int = 0) -> Interval | None:
    """Krippendorff's alpha of nominal labels (Content Analysis, 2004, ch. 11), with its 95 % bootstrap interval.

    Answers are drawn, not labels. The interval is at least as wide as the exact one of the agreement seen, because a
    perfect sample has no other resample.

    Args:
        counts: labels of each kind that each answer got, shape (answers, labels); every answer has at least two.
        seed: of the bootstrap.

    Returns:
        None where a single label was given (chance agreement is 1).
    """
    kinds, answers = np.unique(counts, axis=0, return_counts=True)
    pairs = _coincidences(kinds)
    n, size = len(counts), counts.shape[1]
    seen = (pairs * answers[:, None, None]).sum(axis=0)
    point = float(_alpha(seen))
    if np.isnan(point):
        return None
    sums = resampled_sums(pairs.reshape(len(kinds), -1), answers, RESAMPLES, np.random.default_rng(seed))
    disagreed = 1.0 - float(np.trace(seen) / seen.sum())
    right = exact_interval(1.0 - disagreed, n, n)
    # alpha = 1 - disagreement / that by chance.
    chance = _chance(seen)
    low, high = (max(-1.0, 1.0 - (1.0 - end) / chance) for end in (right.low, right.high))
    floor = Interval(value=point, low=min(low, point), high=max(high, point), n=n)
    return widened(percentile_interval(point, _alpha(sums.reshape(-1, size, size)), n), floor)


def _coincidences(counts: Ints) -> Floats:
    """Ordered pairs of labels within each answer, over its labels less one: (answers, labels, labels)."""
    given = counts.astype(np.float64)
    pairs = given[:, :, None] * given[:, None, :] - given[:, :, None] * np.eye(counts.shape[1])
    weighed: Floats = pairs / (given.sum(axis=1) - 1.0)[:, None, None]
    return weighed


def _alpha(coincidences: Floats) -> Floats:
    """(..., labels, labels) -> (...). Cohen's kappa of coincidences is Scott's pi; alpha corrects for their number."""
    total = coincidences.sum(axis=(-2, -1))
    alpha: Floats = 1.0 - (1.0 - kappa(coincidences)) * (total - 1.0) / total
    return alpha


def _chance(coincidences: Floats) -> float:
    """The disagreement by chance that alpha is measured against."""
    total, given = coincidences.sum(), coincidences.sum(axis=0)
    return float((1.0 - (given**2).sum() / total**2) * total / (total - 1.0))
