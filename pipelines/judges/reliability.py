"""How far a judge's probabilities can be believed: NLL, Brier score, calibration error and reliability bins."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from actors.contract.records import Interval, Record
from pipelines.measures.agreement import BINS, confidence_bin
from pipelines.measures.bootstrap import Floats, cluster_sums, percentile_interval

Ints = NDArray[np.int64]
# A judge that follows rules gives exactly 0 to a label; the NLL then takes this instead.
FLOOR = 1e-12


class ReliabilityBin(Record):
    """The answers whose label got a probability in [low, high)."""

    low: float
    high: float
    n: int
    # Means over the bin; None where it is empty.
    confidence: float | None
    accuracy: float | None


class ProbabilityScore(Record):
    """Label probabilities against human labels; intervals of 95 % over prompts."""

    n: int
    # Mean negative log-likelihood of the human label, in nats.
    nll: Interval
    # Brier (1950): mean squared distance to the human label over all labels, 0 to 2.
    brier: Interval
    # Expected calibration error of the likeliest label (Guo et al., ICML 2017). Chance alone raises it, and
    # the bootstrap raises it again, so that its interval leans to the cautious side.
    ece: Interval
    bins: tuple[ReliabilityBin, ...]


def score_probabilities(
    probabilities: Floats, truth: Ints, prompt_ids: Sequence[str], seed: int, bins: int = BINS
) -> ProbabilityScore | None:
    """Score label probabilities; None without any answer.

    Args:
        probabilities: of each label, shape (answers, labels), rows summing to 1.
        truth: index of the human label, shape (answers,).
        prompt_ids: the prompt of each answer; prompts are the unit of the bootstrap.
        seed: of the bootstrap.
        bins: equal-width bins of the confidence.
    """
    n = len(truth)
    if n == 0:
        return None
    given = probabilities[np.arange(n), truth]
    nll = -np.log(np.maximum(given, FLOOR))
    brier = ((probabilities - np.eye(probabilities.shape[1])[truth]) ** 2).sum(axis=1)
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == truth
    gaps = np.eye(bins)[confidence_bin(confidence, bins)] * (right - confidence)[:, None]
    columns = np.column_stack([np.ones(n), nll, brier, gaps])
    total, drawn = columns.sum(axis=0), cluster_sums(columns, prompt_ids, seed)

    def interval(value: float, draws: Floats) -> Interval:
        return percentile_interval(value, draws / drawn[:, 0], n)

    return ProbabilityScore(
        n=n,
        nll=interval(total[1] / n, drawn[:, 1]),
        brier=interval(total[2] / n, drawn[:, 2]),
        ece=interval(float(np.abs(total[3:]).sum()) / n, np.abs(drawn[:, 3:]).sum(axis=1)),
        bins=reliability_bins(confidence, right, bins),
    )


def reliability_bins(confidence: Floats, right: NDArray[np.bool_], bins: int = BINS) -> tuple[ReliabilityBin, ...]:
    """Mean confidence and accuracy in equal-width bins of the confidence, empty bins included.

    Args:
        confidence: probability of the given label, shape (answers,).
        right: whether that label was right, shape (answers,).
        bins: number of bins.
    """
    which = confidence_bin(confidence, bins)
    counts = np.bincount(which, minlength=bins)
    sure = np.bincount(which, weights=confidence, minlength=bins)
    hits = np.bincount(which, weights=right, minlength=bins)
    return tuple(
        ReliabilityBin(
            low=i / bins,
            high=(i + 1) / bins,
            n=int(n),
            confidence=float(sure[i] / n) if n else None,
            accuracy=float(hits[i] / n) if n else None,
        )
        for i, n in enumerate(counts)
    )
