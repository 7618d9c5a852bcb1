"""Is a challenger's Safety Score better than the champion's on the same prompts, by more than chance?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from actors.contract.records import Interval, Record
from actors.errors import SalusError
from pipelines.config.decision import Cluster
from pipelines.config.scores import ScoreTable
from pipelines.decision.clusters import clusters, codes
from pipelines.decision.control import JudgeErrors, check_judge, trusted_marks
from pipelines.decision.resolution import detectable_gain
from pipelines.measures.bootstrap import CONFIDENCE, Floats, Ints, percentile_interval, resample_counts
from pipelines.measures.metrics import coded
from pipelines.measures.prediction_powered import Estimate, corrected_gain


class McNemar(Record):
    """McNemar's exact test on safe (the row earns its level's best mark) against unsafe (it does not).

    On record beside the test that decides, which looks at the marks themselves: this one takes half a mark for none.
    """

    # Prompts on which the champion was unsafe and the challenger safe.
    gained: int
    # Prompts on which the champion was safe and the challenger unsafe.
    lost: int
    # Two-sided.
    p: float


class CorrectedGain(Record):
    """The gain in SS, corrected by trusted labels (`pipelines.measures.prediction_powered`)."""

    gain: float
    # 95 %, by Student's t.
    low: float
    high: float
    standard_error: float
    # One-sided p of "no better".
    p: float
    # Trusted labels of both policies together.
    n_labelled: int
    # By contender ("champion", "challenger") and harm level.
    judge_error: dict[str, dict[str, JudgeErrors]]
    # Who labelled which answers.
    sampling: str
    # The weight of the judge's marks, 0 to 1; the rest is by the labels alone.
    tuning: float


class Comparison(Record):
    """Challenger minus champion on the prompts both have a label for."""

    # Mean difference of SS; 95 % percentile interval of the paired bootstrap over clusters.
    gain: Interval
    # One-sided p of "no better": the share of bootstrap samples without a gain.
    p_bootstrap: float
    # One-sided p of the sign-flip permutation test of "no effect".
    p_permutation: float
    # The larger of the two, both by the judge's labels.
    p_better: float
    # What the decision uses: Holm's correction, over the cycle's challengers, of the larger of `p_better` and the
    # corrected gain's p.
    p_better_holm: float
    # One-sided p of "no worse", made like `p_better`.
    p_worse: float
    mcnemar: McNemar
    # Base prompts among the prompts compared; None in records of earlier versions.
    base_prompts: int | None = None
    # What is resampled (`decide.cluster`): how many there are; None in records of earlier versions.
    clusters: int | None = None
    # One-sided lower end of the gain at the cycle's share of alpha over its challengers; the corrected gain's, where
    # that is lower. What a challenger that restores the gate must keep above the margin.
    lower_end: float | None = None
    # The gain that the test would find in 80 % of such cycles.
    detectable_gain_80: float | None = None
    # None where no trusted label was held against the gain: it is `judge_uncorrected`.
    corrected: CorrectedGain | None = None

    @property
    def p_decides(self) -> float:
        """One-sided p of "no better" before Holm's correction: the labels may take a gain back, and give none."""
        return self.p_better if self.corrected is None else max(self.p_better, self.corrected.p)


@dataclass(frozen=True)
class PairedTest:
    """What the marks alone say; the fields are those of `Comparison`."""

    gain: Interval
    p_bootstrap: float
    p_permutation: float
    p_better: float
    p_worse: float
    clusters: int
    lower_end: float
    # Standard deviation of the bootstrap's gains.
    standard_error: float


def compare(
    champion: pa.Table,
    challenger: pa.Table,
    table: ScoreTable,
    seed: int,
    resamples: int,
    cluster: Cluster = "base_prompt",
    alpha: float = 1.0 - CONFIDENCE,
    control: tuple[pa.Table | None, pa.Table | None] = (None, None),
) -> Comparison | None:
    """Paired comparison over prompts; None where no prompt has a label from both.

    Args:
        champion: its judged answers.
        challenger: the same of the challenger.
        table: the marks.
        seed: of all resampling.
        resamples: bootstrap samples.
        cluster: what is one piece of evidence.
        alpha: what this comparison may spend: its lower end and the gain it could have seen go by it.
        control: trusted labels of champion and challenger (`pipelines.decision.control.labels_of`).

    Raises:
        SalusError: the two tables are not about the same prompts, or do not say which base prompts these rewrite.
    """
    champion, challenger = aligned(champion, challenger)
    old, new = _scores(champion, table), _scores(challenger, table)
    both = ~np.isnan(old[0] + new[0])
    if not both.any():
        return None
    compared = champion.filter(pa.array(both))
    difference, bases, groups = new[0][both] - old[0][both], codes(compared, "base_prompt"), clusters(compared, cluster)
    test = paired_test(difference, groups, seed, resamples, alpha)
    estimate = _estimate(difference, compared, table, groups, bases, control)
    error = test.standard_error if estimate is None else estimate.standard_error
    return Comparison(
        gain=test.gain,
        p_bootstrap=test.p_bootstrap,
        p_permutation=test.p_permutation,
        p_better=test.p_better,
        p_better_holm=test.p_better if estimate is None else max(test.p_better, estimate.p_better()),
        p_worse=test.p_worse,
        mcnemar=mcnemar(old[1][both], new[1][both]),
        base_prompts=len(np.unique(bases)),
        clusters=test.clusters,
        lower_end=_lower_end(test, estimate, alpha),
        detectable_gain_80=detectable_gain(error, alpha),
        corrected=_corrected(estimate, control) if estimate is not None else None,
    )


def _estimate(
    difference: Floats,
    compared: pa.Table,
    table: ScoreTable,
    groups: Ints,
    bases: Ints,
    control: tuple[pa.Table | None, pa.Table | None],
) -> Estimate | None:
    old, new = control
    if old is None or new is None:
        return None
    places = {str(prompt): place for place, prompt in enumerate(compared["prompt_id"].to_pylist())}
    strata = compared["level"].to_numpy().astype(np.int64)
    marks = (trusted_marks(new, places, table), trusted_marks(old, places, table))
    return corrected_gain(difference, *marks, strata, groups, bases)


def _corrected(estimate: Estimate, control: tuple[pa.Table | None, pa.Table | None]) -> CorrectedGain:
    known = {
        name: labels for name, labels in zip(("champion", "challenger"), control, strict=True) if labels is not None
    }
    checks = {name: check_judge(labels) for name, labels in known.items()}
    by = checks["challenger"].reference
    answers = " and ".join(f"{check.n} answers of the {name}" for name, check in checks.items())
    low, high = estimate.interval(CONFIDENCE)
    return CorrectedGain(
        gain=estimate.gain,
        low=low,
        high=high,
        standard_error=estimate.standard_error,
        p=estimate.p_better(),
        n_labelled=sum(check.n for check in checks.values()),
        judge_error={name: check.errors for name, check in checks.items()},
        sampling=f"drawn at random within each harm level; {answers} labelled by the reference ({by})",
        tuning=estimate.tuning,
    )


def _lower_end(test: PairedTest, estimate: Estimate | None, alpha: float) -> float | None:
    """None where the run has no alpha left: no bound holds then."""
    if alpha <= 0.0:
        return None
    return test.lower_end if estimate is None else min(test.lower_end, estimate.bound(alpha))


def paired_test(
    difference: Floats, bases: Ints, seed: int, resamples: int, alpha: float = 1.0 - CONFIDENCE
) -> PairedTest:
    """Test a mean difference of marks against none.

    The bootstrap alone is too bold where only a few prompts differ. With all of four in favour its p is .02, while
    chance does that once in 16. The permutation test is exact there. p is the larger of both, so that the promised
    error rate holds at every size. (Efron and Tibshirani 1993, ch. 15 and 16.)

    Both draw whole base prompts (or other clusters): a policy's answers to rewrites of one request rise and fall
    together. Rewrites taken for independent evidence would replace the champion by chance in a quarter of cycles
    (`tests/benchmarks/decision_power.py`; the cluster bootstrap: Davison and Hinkley 1997, sec. 3.8).

    Args:
        difference: challenger's mark minus champion's, shape (prompts,), at least one; the order does not matter.
        bases: a number for the base prompt, or other cluster, of each, shape (prompts,).
        seed: of all resampling.
        resamples: bootstrap samples, and as many random sign changes.
        alpha: with which probability the lower end may err.
    """
    values, sizes, counts = _alike(difference, bases)
    rng = np.random.default_rng(seed)
    n = len(difference)
    point = float(values @ counts) / n
    drawn = resample_counts(counts, resamples, rng)
    draws = (drawn @ values) / (drawn @ sizes)
    flips = _sign_flips(values, counts, resamples, rng) / n
    p_bootstrap, p_permutation = _tail(draws, 0.0), _tail(-flips, -point)
    return PairedTest(
        gain=percentile_interval(point, draws, n, CONFIDENCE),
        p_bootstrap=p_bootstrap,
        p_permutation=p_permutation,
        p_better=max(p_bootstrap, p_permutation),
        p_worse=max(_tail(-draws, 0.0), _tail(flips, point)),
        clusters=int(counts.sum()),
        lower_end=min(float(np.percentile(draws, 100.0 * alpha)), point),
        standard_error=float(draws.std()),
    )


def _alike(difference: Floats, bases: Ints) -> tuple[Floats, Floats, Ints]:
    """Base prompts of the same summed difference and the same number of prompts: sum, size, and how many there are."""
    _, index = np.unique(bases, return_inverse=True)
    sums = np.round(np.bincount(index, weights=difference), 9)
    kinds, counts = np.unique(np.stack([sums, np.bincount(index)]), axis=1, return_counts=True)
    return kinds[0], kinds[1], counts


def aligned(champion: pa.Table, challenger: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Both tables sorted by prompt, after checking that they are about the same prompts.

    Raises:
        SalusError: they are not, or a column is missing.
    """
    champion, challenger = champion.sort_by("prompt_id"), challenger.sort_by("prompt_id")
    for column in ("prompt_id", "level", "base_prompt"):
        if column not in champion.column_names or column not in challenger.column_names:
            raise SalusError(f"The judgments have no column {column!r}: they must follow JUDGMENT_SCHEMA.")
        if champion[column].combine_chunks() != challenger[column].combine_chunks():
            raise SalusError(
                f"Champion and challenger were judged on other prompts (their {column} columns differ; "
                f"{champion.num_rows} and {challenger.num_rows} rows): evaluate both on the same split."
            )
    return champion, challenger


def same_answers(champion: pa.Table, challenger: pa.Table) -> bool:
    """Whether the challenger answered every prompt exactly as the champion did (and there is a prompt)."""
    champion, challenger = aligned(champion, challenger)
    same = pc.all(pc.equal(champion["answer"], challenger["answer"])).as_py()
    return bool(champion.num_rows and same)


def holm(p_values: list[float]) -> list[float]:
    """Holm's step-down adjusted p-values, in the order given (Holm, Scand. J. Statist. 6, 1979)."""
    adjusted = [0.0] * len(p_values)
    running = 0.0
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    for rank, i in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = running
    return adjusted


def mcnemar(old_safe: np.ndarray, new_safe: np.ndarray) -> McNemar:
    """The exact binomial test on the prompts where exactly one of two policies was safe.

    Args:
        old_safe: booleans, shape (prompts,).
        new_safe: booleans, shape (prompts,), in the same order.
    """
    gained, lost = int((new_safe & ~old_safe).sum()), int((old_safe & ~new_safe).sum())
    # Half a second, which every reading of a recipe would pay.
    from scipy import stats

    p = float(stats.binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0
    return McNemar(gained=gained, lost=lost, p=p)


def _scores(judgments: pa.Table, table: ScoreTable) -> tuple[Floats, np.ndarray]:
    levels, labels = coded(judgments)
    mark = np.where(labels >= 0, table.marks()[levels, labels], np.nan)
    return mark, mark >= table.best()[levels]


def _sign_flips(values: Floats, counts: np.ndarray, resamples: int, rng: np.random.Generator) -> Floats:
    """Sums of the differences under a random sign for each base prompt, shape (resamples,): the null of no effect."""
    positive = rng.binomial(counts, 0.5, size=(resamples, len(counts)))
    sums: Floats = (2.0 * positive - counts) @ np.abs(values)
    return sums


def _tail(draws: Floats, bound: float) -> float:
    """Share of draws at or below a bound, counting the observed one, so that it is never 0."""
    return float((1 + np.count_nonzero(draws <= bound + 1e-12)) / (1 + len(draws)))
