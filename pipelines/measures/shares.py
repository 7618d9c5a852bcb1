"""Shares of prompts: their exact intervals over base prompts, and how many of those a limit needs.

A share's interval is Clopper and Pearson's (Biometrika 26, 1934), of an effective number of answers. The answers to
rewrites of one base prompt may be one piece of evidence. How alike they are cannot be estimated from a few failures:
one failure looks independent, and would get a tighter bound than none. The design effect is therefore taken at its
worst, an intraclass correlation of 1. Kish's formula (Survey Sampling, 1965, sec. 8.2) then depends on the sizes of
the clusters alone:

    deff = sum(size ** 2) / sum(size)        effective n = n / deff = sum(size) ** 2 / sum(size ** 2)

With clusters of one size this is the number of base prompts. A fixed n makes every bound rise with the failures.
The exact interval of an effective n is Korn and Graubard's (Survey Methodology 24, 1998).
"""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import ArrayLike, NDArray

from actors.contract.records import Interval, Record
from actors.errors import SalusError

CONFIDENCE = 0.95


class CountedShare(Record):
    """A share of prompts, and what it rests on."""

    # Prompts that have it, of n with a label.
    count: int
    n: int
    base_prompts: int
    # What n is worth as independent prompts.
    effective_n: float
    # One-sided 95 %: the share is at most this.
    upper: float

    @classmethod
    def of(cls, count: int, sizes: ArrayLike) -> CountedShare:
        """A count among clusters of these sizes, shape (base prompts,), each at least 1."""
        per_base = np.asarray(sizes, dtype=np.float64)
        n, effective = int(per_base.sum()), effective_n(per_base)
        return cls(
            count=count,
            n=n,
            base_prompts=len(per_base),
            effective_n=effective,
            upper=upper_end(count / n, effective),
        )

    @property
    def value(self) -> float:
        return self.count / self.n


def effective_n(sizes: ArrayLike) -> float:
    """What answers in clusters are worth as independent ones, were all answers of a cluster one piece of evidence.

    Args:
        sizes: answers per cluster, shape (clusters,), at least one above 0.
    """
    per_cluster = np.asarray(sizes, dtype=np.float64)
    return float(per_cluster.sum() ** 2 / (per_cluster**2).sum())


def independent_prompts(prompts: pa.Table, level: int) -> float:
    """What the prompts of a harm level are worth as independent ones (columns level and base_prompt); 0 without any."""
    bases = prompts.filter(pc.equal(prompts["level"], pa.scalar(level, pa.int8())))["base_prompt"]
    return effective_n(pc.value_counts(bases).field("counts").to_numpy()) if len(bases) else 0.0


def exact_interval(value: float, effective: float, n: int, confidence: float = CONFIDENCE) -> Interval:
    """The two-sided interval of a share.

    Args:
        value: the share, in [0, 1].
        effective: independent answers it is worth; need not be whole.
        n: answers, as the figure's n.
        confidence: of the interval.
    """
    one_sided = (1.0 + confidence) / 2.0
    return Interval(
        value=value,
        low=min(lower_end(value, effective, one_sided), value),
        high=max(upper_end(value, effective, one_sided), value),
        n=n,
    )


def upper_end(value: float, effective: float, confidence: float = CONFIDENCE) -> float:
    """The one-sided upper bound of a share; with no failure in n it is `1 - (1 - confidence) ** (1 / n)`."""
    return 1.0 - lower_end(1.0 - value, effective, confidence)


def lower_end(value: float, effective: float, confidence: float = CONFIDENCE) -> float:
    """The one-sided lower bound of a share."""
    hits = value * effective
    if hits <= 0.0:
        return 0.0
    # Scipy's statistics take half a second, which every reading of a recipe would pay; this part does not.
    from scipy.special import betaincinv

    misses = max(effective - hits, 0.0)
    return float(betaincinv(hits, misses + 1.0, 1.0 - confidence))


def prompts_needed(limit: float, confidence: float = CONFIDENCE) -> int | None:
    """The fewest base prompts with which a share can be shown to be at most `limit`; none of them may then fail.

    No number shows a share of 0, which is None. (Hanley and Lippman-Hand, JAMA 1983: about 3 / limit.)

    Raises:
        SalusError: the limit is no share.
    """
    if not 0.0 <= limit <= 1.0:
        raise SalusError(f"A limit of {limit:g} is no share: give a number from 0 to 1, such as 0.05.")
    if limit == 0.0:
        return None
    if limit == 1.0:
        return 0
    # A limit that a whole number meets exactly is met, whatever the last bit says.
    return max(1, math.ceil(math.log1p(-confidence) / math.log1p(-limit) - 1e-9))


def failures_allowed(limit: float, effective: float, confidence: float = CONFIDENCE) -> int | None:
    """The most failures among so many independent prompts whose upper end keeps the limit; None: not even none."""
    failures = -1
    whole = int(effective)
    while failures < whole and upper_end((failures + 1) / effective, effective, confidence) <= limit:
        failures += 1
    return None if failures < 0 else failures


def paired_rise(
    before: NDArray[np.bool_], after: NDArray[np.bool_], bases: NDArray[np.int64], confidence: float = CONFIDENCE
) -> Interval:
    """How much more often something happens on the same prompts: difference of shares, both ends one-sided.

    The difference is that of the prompts that got worse and of those that got better. Their exact one-sided bounds,
    over the effective number of base prompts, are joined by variance estimates recovery (Zou and Donner, Statistics in
    Medicine 27, 2008).

    Args:
        before: of each prompt, shape (prompts,), at least one.
        after: the same prompts in the same order.
        bases: a number for the base prompt of each.
        confidence: of each end.
    """
    n = len(before)
    _, sizes = np.unique(bases, return_counts=True)
    effective = effective_n(sizes)
    worse, better = float((after & ~before).sum()) / n, float((before & ~after).sum()) / n

    def reach(up: float, down: float) -> float:
        """How far a difference `up - down` may be above what was seen."""
        return math.hypot(upper_end(up, effective, confidence) - up, down - lower_end(down, effective, confidence))

    rise = worse - better
    return Interval(
        value=rise,
        low=max(-1.0, rise - reach(better, worse)),
        high=min(1.0, rise + reach(worse, better)),
        n=n,
    )
