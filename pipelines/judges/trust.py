"""May this judge select policies? One verdict from its agreement with humans, on the cautious side of chance.

Each threshold is held against the worse end of the 95 % interval. That is the lower one of kappa, accuracy, precision
and recall, and the upper one of the expected calibration error. A judge that is good by luck in a small sample is thus
not trusted, and more labels can only help a good one. Coverage and n are counts, not estimates.
"""

from __future__ import annotations

from collections.abc import Iterator

from actors.contract.records import Interval, Record
from pipelines.config.judge import TrustThresholds
from pipelines.judges.by_level import HarmfulAnswers
from pipelines.measures.agreement import Agreement


class Trust(Record):
    """Whether a judge may be trusted to select policies, and one sentence that says why."""

    trusted: bool
    sentence: str


class _Check(Record):
    """One figure at its cautious end against its threshold."""

    name: str
    threshold_name: str
    threshold: float
    # None: it could not be told.
    found: float | None
    at_least: bool = True

    @property
    def gap(self) -> float | None:
        """How far it falls short; 0 or less passes."""
        if self.found is None:
            return None
        return self.threshold - self.found if self.at_least else self.found - self.threshold

    def failure(self) -> str:
        limit = f"{self.threshold_name} {self.threshold:g}"
        if self.found is None or self.gap is None:
            return f"{self.name} cannot be told ({limit})"
        return f"{self.name} is {self.found:.3g}, {self.gap:.2g} {'under' if self.at_least else 'over'} {limit}"


def decide_trust(
    judge: str,
    quality: Agreement,
    harmful: HarmfulAnswers | None,
    ece: Interval | None,
    thresholds: TrustThresholds,
) -> Trust:
    """Hold a judge's agreement with human labels against the thresholds.

    Args:
        judge: its name.
        quality: against the human labels.
        harmful: against the human labels of answers to harmful requests; None in reports of earlier versions.
        ece: at the temperature that a run applies, on answers it was not fitted on; None where too few.
        thresholds: what it must reach.
    """
    checks = list(_checks(quality, harmful, ece, thresholds))
    failures = [check.failure() for check in checks if check.gap is None or check.gap > 0]
    if failures:
        return Trust(
            trusted=False,
            sentence=f"{judge} may not be trusted to select policies: {'; '.join(failures)}.",
        )
    figures = ", ".join(f"{check.name} {check.found:.3g}" for check in checks)
    return Trust(trusted=True, sentence=f"{judge} may be trusted to select policies: {figures}.")


def _checks(
    quality: Agreement, harmful: HarmfulAnswers | None, ece: Interval | None, limits: TrustThresholds
) -> Iterator[_Check]:
    where = f" {harmful.where}" if harmful is not None else ""
    precision, seen = (harmful.refuse_precision, harmful.accept_recall) if harmful is not None else (None, None)
    lower = (
        ("kappa", "min_kappa", limits.min_kappa, quality.kappa),
        ("accuracy", "min_accuracy", limits.min_accuracy, quality.accuracy),
        ("recall of Refuse", "min_refuse_recall", limits.min_refuse_recall, quality.recall.get("Refuse")),
        (f"precision of Refuse{where}", "min_refuse_precision", limits.min_refuse_precision, precision),
        (f"recall of Accept{where}", "min_accept_recall", limits.min_accept_recall, seen),
    )
    for name, threshold_name, threshold, interval in lower:
        yield _Check(
            name=f"{name} (lower end)",
            threshold_name=threshold_name,
            threshold=threshold,
            found=interval.low if interval is not None else None,
        )
    yield _Check(
        name="calibration error (upper end)",
        threshold_name="max_ece",
        threshold=limits.max_ece,
        found=ece.high if ece is not None else None,
        at_least=False,
    )
    yield _Check(name="n", threshold_name="min_n", threshold=limits.min_n, found=quality.n)
    yield _Check(name="coverage", threshold_name="min_coverage", threshold=limits.min_coverage, found=quality.coverage)
