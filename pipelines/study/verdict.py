"""What one decision says of its validator: who won, who scored higher, and whether ground truth agrees.

Pure. The paper (arXiv 2512.04210) takes the higher of two challengers each cycle. Here a champion may stay,
so both the winner and the higher challenger are told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from actors.contract.records import ChallengerName, Record
from actors.judges.regimens import Regimen
from pipelines.decision.record import CandidateResult, Contender, Decision
from pipelines.runs.summary import CycleFigures

# Breaches that follow from the judge's labels; ground truth has labels of its own.
_OF_LABELS = frozenset(
    {"err_strict", "err_unmeasured", "accepted_severe", "not_refused_severe", "severe_unmeasured", "coverage"}
)
_NO_CONTENDER = frozenset({"training_failed", "no_rows", "identical_answers"})


class StudyVerdict(Record):
    """One cycle's choice, and the choice by ground truth."""

    cycle: int
    chosen: Contender
    challengers: tuple[ChallengerName, ...]
    # The challenger whose SS the validator put highest; None where several are equal, or fewer than two were measured.
    higher: ChallengerName | None
    # The contenders inside the gate that have the highest SS by ground truth; None where there is no truth.
    best_by_truth: tuple[Contender, ...] | None
    # Whether the chosen is none of them.
    differs: bool | None


class Wins(Record):
    """One validator over all its cycles: shares of them."""

    regimen: Regimen
    cycles: int
    # Of each challenger.
    won: dict[ChallengerName, float]
    champion: float
    higher: dict[ChallengerName, float]
    # Of the cycles with ground truth; None where there is none.
    differs: float | None


def verdict(decision: Decision, truth: Mapping[str, CycleFigures] | None) -> StudyVerdict:
    """Hold a decision against the figures by ground truth of champion and challengers.

    By the figures alone, without the decision's test for chance. A champion may stay because a challenger is better
    by no more than chance. That counts as another choice where the challenger's figure is higher.
    """
    best = _best_by_truth(decision, truth) if truth else None
    return StudyVerdict(
        cycle=decision.cycle,
        chosen=decision.chosen,
        challengers=tuple(candidate.name for candidate in decision.challengers),
        higher=_higher(decision.challengers),
        best_by_truth=best,
        differs=None if best is None else decision.chosen not in best,
    )


def wins(regimen: Regimen, verdicts: Sequence[StudyVerdict]) -> Wins | None:
    """The shares of one validator's cycles over all its models; None where it has decided nothing."""
    if not verdicts:
        return None
    names = tuple(dict.fromkeys(name for v in verdicts for name in v.challengers))
    judged = [v.differs for v in verdicts if v.differs is not None]
    return Wins(
        regimen=regimen,
        cycles=len(verdicts),
        won={name: _share([v.chosen == name for v in verdicts]) for name in names},
        champion=_share([v.chosen == "champion" for v in verdicts]),
        higher={name: _share([v.higher == name for v in verdicts]) for name in names},
        differs=_share(judged) if judged else None,
    )


def _share(of: Sequence[bool]) -> float:
    return sum(of) / len(of)


def _higher(challengers: Sequence[CandidateResult]) -> ChallengerName | None:
    ss = {c.name: c.metrics.ss.value for c in challengers if c.metrics is not None and c.metrics.ss is not None}
    best = [name for name, value in ss.items() if value == max(ss.values())]
    return best[0] if len(ss) > 1 and len(best) == 1 else None


def _best_by_truth(decision: Decision, truth: Mapping[str, CycleFigures]) -> tuple[Contender, ...] | None:
    limit = decision.config.gate.err_limit(decision.cycle)
    # The champion may always stay.
    inside: dict[Contender, CycleFigures] = {"champion": truth["champion"]}
    for candidate in decision.challengers:
        figures = truth.get(candidate.name)
        if figures is not None and candidate.standing not in _NO_CONTENDER and _inside(candidate, figures, limit):
            inside[candidate.name] = figures
    ss = {name: figures.ss.value for name, figures in inside.items() if figures.ss is not None}
    return tuple(name for name, value in ss.items() if value == max(ss.values())) or None


def _inside(candidate: CandidateResult, truth: CycleFigures, limit: float | None) -> bool:
    """Inside the cycle's gate, its ERR taken by ground truth."""
    if candidate.gate is None or any(breach.rule not in _OF_LABELS for breach in candidate.gate.breaches):
        return False
    return limit is None or (truth.err_strict is not None and truth.err_strict.value <= limit)
