"""The canary: some replicas answer the public with the new policy, and are held against those that do not."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from actors.contract.records import Record
from actors.serve.config import CanaryConfig
from actors.serve.gateway.traffic import ReplicaTraffic
from actors.serve.replica.swap import ReplicaState

# How likely a chance is that counts as one: at the one look at the end, and at each of the many before it. A client
# that sends bad requests would need but one of those.
_LIKELY = 0.05
_LIKELY_EARLY = 0.001


class ReplicaWatch(Record):
    """One replica during a canary."""

    state: ReplicaState
    # The answers to what was asked since it began.
    traffic: ReplicaTraffic


class Seen(Record):
    """What some replicas answered since the canary began."""

    replicas: int
    # Of each answer.
    seconds: tuple[float, ...]
    errors: int

    @classmethod
    def of(cls, traffic: Sequence[ReplicaTraffic]) -> Seen:
        return cls(
            replicas=len(traffic),
            seconds=tuple(each for replica in traffic for each in replica.seconds),
            errors=sum(replica.errors for replica in traffic),
        )

    @property
    def asked(self) -> int:
        return len(self.seconds) + self.errors

    @property
    def error_share(self) -> float:
        return self.errors / self.asked if self.asked else 0.0


def errors_fault(config: CanaryConfig, canary: Seen, others: Seen, early: bool = False) -> str | None:
    """What is wrong with the canary's errors; None where nothing is. `early`: it is looked at again.

    A request that fails by its own fault fails at whichever replica it meets. A few of those may all meet the canary,
    so a larger share of errors counts only where that is no likely chance. Where the others get no requests, one error
    is one too many.
    """
    allowed = others.error_share + config.max_error_share
    if canary.error_share <= allowed:
        return None
    if others.asked and _chance(canary, others) >= (_LIKELY_EARLY if early else _LIKELY):
        return None
    return (
        f"{canary.errors} of {canary.asked} requests failed at the canary, {others.errors} of {others.asked} at the "
        f"other replicas (allowed: {allowed:.1%})"
    )


def _chance(canary: Seen, others: Seen) -> float:
    """How likely so many of all errors meet the canary where both policies fail alike: Fisher's exact test."""
    # Imported here: it takes long, and only a publisher with a canary needs it.
    from scipy.stats import hypergeom

    every, errors = canary.asked + others.asked, canary.errors + others.errors
    return float(hypergeom.sf(canary.errors - 1, every, errors, canary.asked))


def pace_fault(config: CanaryConfig, canary: Seen, others: Seen) -> str | None:
    """What is wrong with the canary's pace; None where nothing is, or too few answers tell.

    The median, not p99: of the few answers a canary gives, the 99th percentile is the slowest one.
    """
    least, most = config.min_answers, config.max_slowdown
    if canary.asked < least:
        # One that hangs looks like one without requests, but for the others' share of the same requests.
        share = others.asked / max(others.replicas, 1) * canary.replicas
        if share >= most * least:
            return f"the canary answered {canary.asked} requests, and as many other replicas {share:.0f} meanwhile"
        return None
    if min(len(canary.seconds), len(others.seconds)) < least:
        return None
    ours, theirs = median(canary.seconds), median(others.seconds)
    if ours <= most * theirs:
        return None
    return f"the canary's median answer took {ours:.3g} s, the other replicas' {theirs:.3g} s (allowed: {most:g} times)"


def verdict(config: CanaryConfig, canary: Seen, others: Seen) -> str:
    """One sentence on a canary without a fault."""
    if canary.asked < config.min_answers:
        return (
            f"The canary answered {canary.asked} requests, fewer than the {config.min_answers} of min_answers: too "
            "few to compare."
        )
    return (
        f"The canary answered {canary.asked} requests, {canary.errors} with an error; the other replicas "
        f"{others.asked}, {others.errors} with an error."
    )
