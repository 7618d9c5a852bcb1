"""How far a judge can be believed: its labels against reference labels (humans, or known by construction)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import compress

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field

from actors.contract.records import LABELS, Interval, Record
from actors.errors import SalusError
from pipelines.measures.bootstrap import (
    RESAMPLES,
    Floats,
    cluster_sums,
    percentile_interval,
    resample_counts,
    widened,
)
from pipelines.measures.shares import effective_n, exact_interval

Ints = NDArray[np.int64]

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
    # Of each label: the share of the answers with that reference label which the judge gave it too.
    # None where no answer has it.
    recall: dict[str, Interval | None] = Field(default_factory=dict)


def agreement(
    reference: Sequence[str | None],
    predicted: Sequence[str | None],
    probabilities: ArrayLike | None = None,
    labels: Sequence[str] = LABELS,
    seed: int = 0,
    groups: Sequence[str] | None = None,
) -> Agreement:
    """Compare two labellings of the same answers.

    Args:
        reference: the trusted labels; None = not labelled, left out.
        predicted: the judge's labels in the same order; None = missing, lowers the coverage only.
        probabilities: the judge's probability of each label, shape (answers, labels).
        labels: all labels there are.
        seed: of the bootstrap intervals (95 %).
        groups: the prompt of each answer, where one has several: prompts are then drawn, not answers.

    Raises:
        SalusError: lengths differ, or a label is unknown.
    """
    truth, guess = _codes(reference, labels, "reference"), _codes(predicted, labels, "judge")
    for other, what in ((guess, "judged answers"), (guess if groups is None else groups, "prompts of answers")):
        if len(other) != len(truth):
            raise SalusError(
                f"{len(truth)} reference labels cannot be compared with {len(other)} {what}: "
                "give one label of each kind per answer."
            )
    both = (truth >= 0) & (guess >= 0)
    known, size = int((truth >= 0).sum()), len(labels)
    pairs = np.bincount(truth[both] * size + guess[both], minlength=size * size)
    confusion = pairs.reshape(size, size)
    drawn = _Drawn(truth[both] * size + guess[both], _chosen(groups, both), confusion, seed)
    return Agreement(
        labels=tuple(labels),
        n=int(both.sum()),
        coverage=float(both.sum() / known) if known else 0.0,
        accuracy=drawn.share(np.eye(size, dtype=bool), np.ones((size, size), dtype=bool)),
        kappa=drawn.kappa(),
        f1={label: _f1(confusion, i) for i, label in enumerate(labels)},
        ece=_ece(truth, guess, both, probabilities),
        confusion=tuple(tuple(int(count) for count in row) for row in confusion),
        recall={label: drawn.recall(i) for i, label in enumerate(labels)},
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
    gap = np.bincount(confidence_bin(confidence, bins), weights=right - confidence, minlength=bins)
    return float(np.abs(gap).sum() / len(confidence))


def confidence_bin(confidence: Floats, bins: int = BINS) -> Ints:
    """The equal-width bin of each confidence, 0 to `bins` - 1; shape (answers,)."""
    return np.minimum((confidence * bins).astype(np.int64), bins - 1)


class _Drawn:
    """The confusion counts and their bootstrap distribution, from which every interval is taken."""

    def __init__(self, cells: Ints, groups: Sequence[str] | None, confusion: Ints, seed: int) -> None:
        self._confusion, self._cells, self._groups = confusion, cells, groups
        self._draws: Floats = np.zeros((0, *confusion.shape))
        if not len(cells):
            return
        if groups is None:
            draws = resample_counts(confusion.ravel(), RESAMPLES, np.random.default_rng(seed))
        else:
            draws = cluster_sums(np.eye(confusion.size)[cells], groups, seed)
        self._draws = draws.reshape(-1, *confusion.shape)

    def share(self, of: NDArray[np.bool_], among: NDArray[np.bool_]) -> Interval | None:
        """The answers in the cells `of` among those in the cells `among`; None where there are none."""
        n, hits = int(self._confusion[among].sum()), int(self._confusion[of & among].sum())
        if n == 0:
            return None
        # The answers to one prompt may be one piece of evidence.
        return exact_interval(hits / n, self._independent(among), n)

    def recall(self, label: int) -> Interval | None:
        row = np.arange(len(self._confusion))[:, None] == label
        return self.share(np.eye(len(self._confusion), dtype=bool), np.broadcast_to(row, self._confusion.shape))

    def kappa(self) -> Interval | None:
        """Percentile interval, at least as wide as the exact one of the accuracy, at the chance agreement seen.

        A perfect sample has no other resample, and would else be certain. (Cohen 1960 too takes the chance agreement
        as fixed.)
        """
        n = int(self._confusion.sum())
        point = float(kappa(self._confusion.astype(np.float64))) if n else float("nan")
        right = self.share(np.eye(len(self._confusion), dtype=bool), np.ones(self._confusion.shape, dtype=bool))
        if np.isnan(point) or right is None:
            return None
        # kappa = 1 - (1 - accuracy) / (1 - chance).
        total = self._confusion.sum()
        chance = float((self._confusion.sum(axis=1) * self._confusion.sum(axis=0)).sum() / total**2)
        low, high = (max(-1.0, 1.0 - (1.0 - end) / (1.0 - chance)) for end in (right.low, right.high))
        floor = Interval(value=point, low=min(low, point), high=max(high, point), n=n)
        return widened(percentile_interval(point, kappa(self._draws), n), floor)

    def _independent(self, among: NDArray[np.bool_]) -> float:
        within = among.ravel()[self._cells]
        if self._groups is None:
            return float(within.sum())
        return effective_n(list(Counter(compress(self._groups, within)).values()))


def _chosen(groups: Sequence[str] | None, rows: NDArray[np.bool_]) -> list[str] | None:
    return None if groups is None else [group for group, keep in zip(groups, rows, strict=True) if keep]


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
