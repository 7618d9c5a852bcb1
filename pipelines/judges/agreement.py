"""How far a judge can be believed: its labels against reference labels (humans, or known by construction)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from actors.errors import SalusError
from actors.records import LABELS, Interval, Record
from pipelines.bootstrap import Floats, percentile_interval, resample_counts, unanimous_interval

Ints = NDArray[np.int64]

RESAMPLES = 2000
# Equal-width confidence bins of the expected calibration error.
BINS = 10


class Agreement(Record):
    """A judge against reference labels, over the answers it gave a label for."""

    labels: tuple[str, ...]
    # Answers with a label from both.
    n: int
    # Share of the referenced answers the judge gave a label for.
    coverage: float
    accuracy: Interval | None
    # Cohen (1960); None where one of both knows a single label (chance agreement is 1).
    kappa: Interval | None
    # Of each label; None where neither ever gave it.
    f1: dict[str, float | None]
    # Expected calibration error of the given label's probability; None without probabilities.
    ece: float | None
    # Answers by reference label (rows) and the judge's label (columns).
    confusion: tuple[tuple[int, ...], ...]


def agreement(
    reference: Sequence[str | None],
    predicted: Sequence[str | None],
    probabilities: ArrayLike | None = None,
    labels: Sequence[str] = LABELS,
    seed: int = 0,
) -> Agreement:
    """Compare two labellings of the same answers.

    Args:
        reference: the trusted labels; None = not labelled, left out.
        predicted: the judge's labels in the same order; None = missing, lowers the coverage only.
        probabilities: the judge's probability of each label, shape (answers, labels).
        labels: all labels there are.
        seed: of the bootstrap intervals (95 %, over answers).

    Raises:
        SalusError: lengths differ, or a label is unknown.
    """
    truth, guess = _codes(reference, labels, "reference"), _codes(predicted, labels, "judge")
    if len(truth) != len(guess):
        raise SalusError(
            f"{len(truth)} reference labels cannot be compared with {len(guess)} judged answers: "
            "give one label of each kind per answer."
        )
    both = (truth >= 0) & (guess >= 0)
    known, size = int((truth >= 0).sum()), len(labels)
    pairs = np.bincount(truth[both] * size + guess[both], minlength=size * size)
    confusion = pairs.reshape(size, size)
    return Agreement(
        labels=tuple(labels),
        n=int(both.sum()),
        coverage=float(both.sum() / known) if known else 0.0,
        accuracy=_accuracy(confusion, seed),
        kappa=_kappa_interval(confusion, seed),
        f1={label: _f1(confusion, i) for i, label in enumerate(labels)},
        ece=_ece(truth, guess, both, probabilities),
        confusion=tuple(tuple(int(count) for count in row) for row in confusion),
    )


def kappa(confusion: Floats) -> Floats:
    """Cohen's kappa of confusion counts, (..., labels, labels) -> (...); NaN where chance agrees fully."""
    total = confusion.sum(axis=(-2, -1))
    observed = np.trace(confusion, axis1=-2, axis2=-1) / total
    chance = (confusion.sum(axis=-1) * confusion.sum(axis=-2)).sum(axis=-1) / total**2
    result: Floats = np.full_like(chance, np.nan)
    np.divide(observed - chance, 1.0 - chance, out=result, where=chance < 1.0)
    return result


def expected_calibration_error(confidence: Floats, right: NDArray[np.bool_], bins: int = BINS) -> float:
    """Mean over equal-width bins of |accuracy - confidence|, weighted by rows (Guo et al., ICML 2017).

    Args:
        confidence: probability of the given label, in [0, 1], shape (answers,).
        right: whether that label was right, shape (answers,).
        bins: number of bins.
    """
    which = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    gap = np.bincount(which, weights=right - confidence, minlength=bins)
    return float(np.abs(gap).sum() / len(confidence))


def _accuracy(confusion: Ints, seed: int) -> Interval | None:
    n, right = int(confusion.sum()), int(np.trace(confusion))
    if n == 0:
        return None
    if right in (0, n):
        return unanimous_interval(right / n, n)
    draws = resample_counts(np.array([n - right, right]), RESAMPLES, np.random.default_rng(seed))
    return percentile_interval(right / n, draws[:, 1] / n, n)


def _kappa_interval(confusion: Ints, seed: int) -> Interval | None:
    n = int(confusion.sum())
    point = float(kappa(confusion.astype(np.float64))) if n else float("nan")
    if np.isnan(point):
        return None
    draws = resample_counts(confusion.ravel(), RESAMPLES, np.random.default_rng(seed))
    return percentile_interval(point, kappa(draws.reshape(-1, *confusion.shape)), n)


def _f1(confusion: Ints, label: int) -> float | None:
    given = int(confusion[label].sum() + confusion[:, label].sum())
    return 2.0 * float(confusion[label, label]) / given if given else None


def _ece(truth: Ints, guess: Ints, both: NDArray[np.bool_], probabilities: ArrayLike | None) -> float | None:
    if probabilities is None or not both.any():
        return None
    table = np.asarray(probabilities, dtype=np.float64)
    if table.ndim != 2 or len(table) != len(guess) or guess.max() >= table.shape[1]:
        raise SalusError(f"Probabilities of shape {table.shape} do not fit {len(guess)} answers.")
    confidence = table[np.flatnonzero(both), guess[both]]
    return expected_calibration_error(confidence, truth[both] == guess[both])


def _codes(values: Sequence[str | None], labels: Sequence[str], whose: str) -> Ints:
    index: dict[str | None, int] = {label: i for i, label in enumerate(labels)}
    index[None] = -1
    unknown = sorted({str(value) for value in values if value not in index})
    if unknown:
        raise SalusError(f"The {whose} label {unknown[0]!r} is not one of {', '.join(labels)}: normalise it.")
    return np.array([index[value] for value in values], dtype=np.int64)
