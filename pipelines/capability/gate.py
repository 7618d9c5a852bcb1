"""The capability gate: what a policy may lose against the model that was deployed, and still be published. Pure.

The comparison is with the model the run began with, not with the last champion: many small losses are one large one.
Point estimates decide; where the two 95 % intervals overlap the sentence says so.
"""

from __future__ import annotations

from collections.abc import Mapping

from actors.errors import SalusError
from actors.records import Interval, Record
from pipelines.capability.config import CapabilityLimits
from pipelines.capability.figures import Capability
from pipelines.gate import Breach, CapabilityRule

# A drop of exactly the limit is kept, whatever the last bit says.
_ROUNDING = 1e-9


class CapabilityEvidence(Record):
    """All that the gate knows in one cycle; part of the decision record."""

    limits: CapabilityLimits
    # The model the run began with.
    base: Capability
    # By version: the champion and its challengers.
    policies: Mapping[str, Capability]

    def breaches(self, version: str) -> tuple[Breach, ...]:
        """The limits this policy does not keep.

        Raises:
            SalusError: it was not measured.
        """
        if version not in self.policies:
            raise SalusError(
                f"Policy {version} has no capability figures; run salus evaluate for its cycle again, which measures"
                " what is missing."
            )
        return check_capability(self.base, self.policies[version], self.limits)


def check_capability(base: Capability, policy: Capability, limits: CapabilityLimits) -> tuple[Breach, ...]:
    """Hold a policy's figures against those of the deployed model; what neither has is not gated."""
    accuracy, helpful = limits.max_accuracy_drop, limits.max_helpful_drop
    old, new = (c.perplexity.per_token if c.perplexity is not None else None for c in (base, policy))
    found = (
        _drop("capability_accuracy", "Multiple-choice accuracy", base.accuracy, policy.accuracy, accuracy),
        _ratio("capability_perplexity", "Perplexity of reference answers", old, new, limits.max_perplexity_ratio),
        _drop("helpfulness", "Share of harmless prompts accepted", base.helpful, policy.helpful, helpful),
    )
    return tuple(breach for breach in found if breach is not None)


def _drop(
    rule: CapabilityRule, what: str, old: Interval | None, new: Interval | None, limit: float | None
) -> Breach | None:
    if limit is None or old is None:
        return None
    if new is None:
        return _unmeasured(rule, what, limit)
    drop = old.value - new.value
    if drop <= limit + _ROUNDING:
        return None
    return _lost(rule, drop, limit, f"{what} {_shown(new)} is {drop:.3g} below {_deployed(old)}", old, new)


def _ratio(
    rule: CapabilityRule, what: str, old: Interval | None, new: Interval | None, limit: float | None
) -> Breach | None:
    if limit is None or old is None:
        return None
    if new is None:
        return _unmeasured(rule, what, limit)
    ratio = new.value / old.value
    if ratio <= limit + _ROUNDING:
        return None
    return _lost(rule, ratio, limit, f"{what} {_shown(new)} is {ratio:.3g} times {_deployed(old)}", old, new)


def _lost(rule: CapabilityRule, value: float, limit: float, finding: str, old: Interval, new: Interval) -> Breach:
    overlap = old.low <= new.high and new.low <= old.high
    chance = "the intervals overlap" if overlap else "the intervals do not overlap"
    return Breach(rule=rule, value=value, limit=limit, sentence=f"{finding}, more than {limit:.3g} ({chance}).")


def _unmeasured(rule: CapabilityRule, what: str, limit: float) -> Breach:
    sentence = f"{what} could not be measured, though the deployed model's was."
    return Breach(rule=rule, value=None, limit=limit, sentence=sentence)


def _deployed(figure: Interval) -> str:
    return f"the deployed model's {_shown(figure)}"


def _shown(figure: Interval) -> str:
    return f"{figure.value:.3g} [{figure.low:.3g}, {figure.high:.3g}]"
