"""Prediction-powered inference: a mean that a judge measured on all prompts, corrected by trusted labels of a few.

A judge's marks f are known for every prompt, trusted marks y for a random sample of them. The estimate is

    mean(l f) over all + weighted mean(y - l f) over the sample        (Angelopoulos et al., Science 382, 2023, eq. 1)

with the tuning l in [0, 1] that makes its variance least (Angelopoulos, Duchi and Zrnic, arXiv 2311.01453). l = 1
corrects the judge's mean error; l = 0 uses the labels alone. Whatever l is, a judge's bias is no bias of the estimate.

Here the sample is a part of the prompts, drawn within strata (harm levels). The papers take two independent samples.
So the variance is that of the two-phase difference estimator, from linearised scores: Saerndal, Swensson and Wretman,
Model Assisted Survey Sampling, 1992, ch. 9. Scores are summed by cluster first, as a policy's answers to rewrites of
one request rise and fall together (Liang and Zeger, Biometrika 73, 1986).

Few labels that are all right would have no spread, and claim certainty. The variance therefore takes in four
pseudo-labels that are wrong by a whole mark. Agresti and Coull (The American Statistician 52, 1998) add as many. With n
labels that are all right the standard error of the correction is 2 / n.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipelines.measures.bootstrap import Floats, Ints
from pipelines.measures.shares import effective_n

# Wrong labels that are added to the variance.
PSEUDO_ERRORS = 4.0


@dataclass(frozen=True)
class TrustedMarks:
    """Marks of a random sample of one policy's answers, by the judge and by the trusted reference; all (labels,)."""

    # The prompt's place among all prompts; each at most once.
    prompt: Ints
    judged: Floats
    trusted: Floats
    # The chance that this prompt had to be drawn, above 0.
    probability: Floats


@dataclass(frozen=True)
class Estimate:
    """A corrected mean difference."""

    gain: float
    standard_error: float
    # Of Student's t: independent labels less strata, or clusters less one, where those are fewer.
    degrees: int
    # The weight of the judge's marks, 0 to 1.
    tuning: float

    def p_better(self) -> float:
        """One-sided p of "no gain"."""
        from scipy import stats

        return float(stats.t.sf(self.gain / self.standard_error, self.degrees)) if self.standard_error else 1.0

    def interval(self, confidence: float) -> tuple[float, float]:
        """The two-sided interval."""
        low = self.bound((1.0 - confidence) / 2.0)
        return low, 2.0 * self.gain - low

    def bound(self, alpha: float) -> float:
        """The lower end of the gain that errs with probability `alpha`, in (0, 1)."""
        from scipy import stats

        return float(self.gain - stats.t.isf(alpha, self.degrees) * self.standard_error)


@dataclass(frozen=True)
class _Side:
    """The labels of one policy with their weights."""

    marks: TrustedMarks
    # Of each label; those of a stratum sum to its share of the prompts. Shape (labels,).
    weight: Floats
    stratum: Ints
    # By stratum: the weighted means of trusted and judged marks.
    trusted: Floats
    judged: Floats

    def scores(self, marks: Floats, means: Floats, prompts: int) -> Floats:
        """What each prompt's label adds to the linearised score, shape (prompts,)."""
        n = np.bincount(self.stratum, minlength=len(means))[self.stratum]
        # A stratum's deviations from its own mean are too small by (n - 1) / n.
        deviation = (marks - means[self.stratum]) * np.sqrt(n / np.maximum(n - 1, 1))
        weighted = np.asarray(self.weight * deviation, dtype=np.float64)
        return np.asarray(np.bincount(self.marks.prompt, weights=weighted, minlength=prompts), dtype=np.float64)


def corrected_gain(
    difference: Floats, new: TrustedMarks, old: TrustedMarks, strata: Ints, clusters: Ints, bases: Ints
) -> Estimate | None:
    """The mean difference of two policies' marks, corrected by trusted labels of both.

    Args:
        difference: the judge's mark of the new policy less that of the old one, shape (prompts,), at least one.
        new: trusted marks of the new policy's answers.
        old: those of the old policy's; the prompts may be the same or others.
        strata: the stratum of each prompt that the samples were drawn within, from 0, shape (prompts,).
        clusters: a number for what is one piece of evidence, from 0, shape (prompts,).
        bases: a number for the base prompt of each, from 0, shape (prompts,): labels of one base prompt count once.

    Returns:
        None where a stratum has no label of one of the policies, or where there is but one cluster.
    """
    n = len(difference)
    share = np.bincount(strata) / n
    sides = [_side(marks, strata, share) for marks in (new, old)]
    groups = int(clusters.max()) + 1
    if sides[0] is None or sides[1] is None or groups < 2:
        return None
    first, second = sides[0], sides[1]
    # With tuning l the score of a prompt is `alone + l * judged`, and the estimate `by_labels + l * by_judge`.
    labels, judge = first.trusted - second.trusted, first.judged - second.judged
    by_labels, by_judge = float(share @ labels), float(difference.mean() - share @ judge)
    alone = (labels[strata] - by_labels) / n
    alone += first.scores(new.trusted, first.trusted, n) - second.scores(old.trusted, second.trusted, n)
    judged = (difference - judge[strata] - by_judge) / n
    judged -= first.scores(new.judged, first.judged, n) - second.scores(old.judged, second.judged, n)
    a, b = (np.bincount(clusters, weights=each, minlength=groups) for each in (alone, judged))
    squares = float(b @ b)
    tuning = float(np.clip(-(a @ b) / squares, 0.0, 1.0)) if squares > 0.0 else 1.0
    variance = groups / (groups - 1) * float(((a + tuning * b) ** 2).sum())
    independent = min(_independent(side, bases) for side in (first, second))
    unseen = 1.0 - min(len(new.prompt), len(old.prompt)) / n
    variance += unseen * PSEUDO_ERRORS / independent**2
    degrees = min(int(independent) - len(share), groups - 1)
    return Estimate(by_labels + tuning * by_judge, float(np.sqrt(variance)), max(degrees, 1), tuning)


def _side(marks: TrustedMarks, strata: Ints, share: Floats) -> _Side | None:
    """Weights within strata (Hajek): the chances of a stratum's labels, scaled to its share of the prompts."""
    stratum, chance = strata[marks.prompt], 1.0 / marks.probability
    total = np.bincount(stratum, weights=chance, minlength=len(share))
    if (total[share > 0.0] <= 0.0).any():
        return None
    weight = chance / total[stratum] * share[stratum]
    means = [
        np.divide(np.bincount(stratum, weights=weight * of, minlength=len(share)), share, where=share > 0.0,
                  out=np.zeros(len(share)))
        for of in (marks.trusted, marks.judged)
    ]  # fmt: skip
    return _Side(marks, weight, stratum, means[0], means[1])


def _independent(side: _Side, bases: Ints) -> float:
    """How many labels of other base prompts, all weighted alike, would tell as much."""
    _, index = np.unique(bases[side.marks.prompt], return_inverse=True)
    return effective_n(np.bincount(index, weights=side.weight))
