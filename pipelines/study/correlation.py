"""Whether closed and open figures rank a study's policies alike: Spearman's rho and Kendall's tau (scipy).

Arias-Duart et al. (arXiv 2502.06666) compare multiple choice with open answers so, over models. The p value of rho is
of a permutation test over pairings, exact for up to seven policies. That of tau is scipy's, exact without ties. Few
policies cannot show much. Policies of one study share a base model, data or judge, so that they are no sample of all
models.

A study's own runs have the closed and open figures of section `capability`. Those of the harness, as CareQA's, are read
from `harness/` of its folder, where `salus capability --tasks` was told to leave them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from actors.contract.records import Interval, Record
from actors.contract.seeds import derive_seed
from actors.files.records import find_record
from pipelines.measures.capability.figures import Capability
from pipelines.measures.capability.harness_tasks import HarnessFigures
from pipelines.runs.summary import Summary

# Fewer have no ranking worth a figure.
LEAST = 3
PERMUTATIONS = 9999
Floats = NDArray[np.float64]
# A policy's figures by name; a larger one is better.
Figures = Mapping[str, float]
_OPEN_METRICS = ("bleu", "rouge1", "rouge2", "rougeL", "bert_score", "bleurt")
_ACCURACY = "acc,none"


class RankStatistic(Record):
    """A rank correlation from -1 to 1, and its two-sided p value."""

    value: float
    p: float


class RankCorrelation(Record):
    """One closed figure against one open one, over n policies that have both."""

    closed: str
    open: str
    spearman: RankStatistic
    kendall: RankStatistic
    n: int


class MeasuredPolicy(Record):
    """One policy's closed and open figures, by name; larger is better."""

    policy: str
    closed: dict[str, float]
    open: dict[str, float]


def rank_correlations(policies: Sequence[MeasuredPolicy], seed: int) -> tuple[RankCorrelation, ...]:
    """Each closed figure against each open one, where at least three policies have both and both vary.

    Args:
        policies: each once.
        seed: of the permutations, where there are too many to try all.
    """
    found = []
    for closed in _names(policies, lambda policy: policy.closed):
        for opened in _names(policies, lambda policy: policy.open):
            both = [(p.closed[closed], p.open[opened]) for p in policies if closed in p.closed and opened in p.open]
            if len(both) < LEAST:
                continue
            one, other = np.array(both, dtype=np.float64).T
            # Where all are equal there is no rank.
            if np.ptp(one) and np.ptp(other):
                found.append(_correlated(closed, opened, one, other, derive_seed(seed, "ranks", closed, opened)))
    return tuple(found)


def policies_of_runs(runs: Sequence[tuple[str, str, Summary]]) -> tuple[MeasuredPolicy, ...]:
    """The deployed models and last champions of runs that measured capability.

    Args:
        runs: (model, run, summary). Runs of one model begin with the same deployed policy, which counts once.
    """
    found: dict[str, MeasuredPolicy] = {}
    for model, run, summary in runs:
        if summary.capability is None:
            continue
        base, champion = summary.capability.base, summary.capability.champion
        found.setdefault(f"{model}/{base.policy}", _of_capability(f"{model}/{base.policy}", base))
        if champion.policy != base.policy:
            found[f"{run}/{champion.policy}"] = _of_capability(f"{run}/{champion.policy}", champion)
    return tuple(found.values())


def policies_of_harness(folder: Path) -> tuple[MeasuredPolicy, ...]:
    """What `salus capability --tasks ... --out FOLDER/NAME` measured, each subfolder one policy.

    Raises:
        SalusError: a file there is no record of such figures.
    """
    found = []
    for file in sorted(folder.glob("*/capability.json")):
        measured = find_record(HarnessFigures, file, "figures of harness tasks", "measure it again with --tasks")
        if measured is not None:
            found.append(_of_harness(file.parent.name, measured))
    return tuple(found)


def _names(policies: Sequence[MeasuredPolicy], of: Callable[[MeasuredPolicy], Figures]) -> Sequence[str]:
    return list(dict.fromkeys(name for policy in policies for name in of(policy)))


def _of_capability(name: str, found: Capability) -> MeasuredPolicy:
    perplexity = found.perplexity_per_token
    # The less likely a reference answer is, the worse.
    opened = {"reference answers (- log perplexity)": -float(np.log(perplexity.value))} if perplexity else {}
    return MeasuredPolicy(policy=name, closed=_value("multiple choice", found.accuracy), open=opened)


def _value(name: str, figure: Interval | None) -> dict[str, float]:
    return {name: figure.value} if figure is not None else {}


def _of_harness(name: str, found: HarnessFigures) -> MeasuredPolicy:
    closed: dict[str, float] = {}
    opened: dict[str, float] = {}
    for task, figures in found.tasks.items():
        closed |= {task: figures[_ACCURACY]} if _ACCURACY in figures else {}
        opened |= {
            f"{task} {metric}": figures[f"{metric},none"] for metric in _OPEN_METRICS if f"{metric},none" in figures
        }
    return MeasuredPolicy(policy=name, closed=closed, open=opened)


def _correlated(closed: str, opened: str, one: Floats, other: Floats, seed: int) -> RankCorrelation:
    kendall = stats.kendalltau(one, other)
    return RankCorrelation(
        closed=closed,
        open=opened,
        spearman=_spearman(one, other, seed),
        kendall=RankStatistic(value=float(kendall.statistic), p=float(kendall.pvalue)),
        n=len(one),
    )


def _spearman(one: Floats, other: Floats, seed: int) -> RankStatistic:
    """Rho, with a p value that also holds for few policies, where scipy's own does not."""
    ranks, fixed = (stats.rankdata(each) - (len(each) + 1) / 2 for each in (one, other))
    scale = np.sqrt((ranks @ ranks) * (fixed @ fixed))

    def rho(permuted: Floats, axis: int) -> Floats:
        found: Floats = (permuted * fixed).sum(axis=axis) / scale
        return found

    tested = stats.permutation_test(
        (ranks,),
        rho,
        permutation_type="pairings",
        vectorized=True,
        n_resamples=PERMUTATIONS,
        alternative="two-sided",
        rng=np.random.default_rng(seed),
    )
    return RankStatistic(value=float(stats.spearmanr(one, other).statistic), p=float(tested.pvalue))
