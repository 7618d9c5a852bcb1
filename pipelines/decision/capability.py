"""The capability gate: what a policy may lose against the model that was deployed, and still be published.

Its evidence is each policy's `figures.json`, which is read and written here too. The comparison is with the model
the run began with, not with the last champion: many small losses are one large one. Point estimates
decide; where the two 95 % intervals overlap the sentence says so.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from actors.contract.records import Interval, Record
from actors.contract.run_folder import RunFolder
from actors.errors import SalusError
from actors.files.records import read_record
from actors.files.shards import write_text
from pipelines.config.capability import CapabilityConfig, CapabilityLimits
from pipelines.decision.gate import Breach, CapabilityRule
from pipelines.measures.capability.figures import Capability
from pipelines.measures.capability.questions import HeldOut

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


@dataclass(frozen=True)
class _Limit:
    """One limit, and how a loss is measured against it."""

    rule: CapabilityRule
    what: str
    # Between the loss and the deployed model's figure: "0.1 below", "1.3 times".
    comparison: Literal["below", "times"]
    most: float | None
    loss: Callable[[float, float], float]


def check_capability(base: Capability, policy: Capability, limits: CapabilityLimits) -> tuple[Breach, ...]:
    """Hold a policy's figures against those of the deployed model; what neither has is not gated."""
    accuracy = _Limit(
        "capability_accuracy", "Multiple-choice accuracy", "below", limits.max_accuracy_drop, operator.sub
    )
    perplexity = _Limit(
        "capability_perplexity",
        "Perplexity of reference answers",
        "times",
        limits.max_perplexity_ratio,
        lambda old, new: new / old,
    )
    helpful = _Limit(
        "helpfulness", "Share of harmless prompts accepted", "below", limits.max_helpful_drop, operator.sub
    )
    found = (
        _held(accuracy, base.accuracy, policy.accuracy),
        _held(perplexity, base.perplexity_per_token, policy.perplexity_per_token),
        _held(helpful, base.helpful, policy.helpful),
    )
    return tuple(breach for breach in found if breach is not None)


def figures_path(folder: RunFolder, split: HeldOut, version: str) -> Path:
    """Where one policy's figures are."""
    return folder.evaluation_capability(split, version) / "figures.json"


def write_figures(figures: Capability, folder: RunFolder, split: HeldOut) -> None:
    """Write one policy's figures."""
    write_text(figures.model_dump_json(indent=2), figures_path(folder, split, figures.policy))


def read_figures(folder: RunFolder, split: HeldOut, version: str) -> Capability:
    """One policy's figures.

    Raises:
        SalusError: they are not there, or were written by another version of Salus.
    """
    path = figures_path(folder, split, version)
    if not path.is_file():
        raise SalusError(f"Policy {version} has no capability figures at {path}; run salus evaluate for its cycle.")
    return read_record(Capability, path, "a record of capability figures", "delete it and run salus evaluate")


def read_evidence(
    folder: RunFolder, config: CapabilityConfig, base: str, versions: Iterable[str]
) -> CapabilityEvidence:
    """What the gate of one cycle rests on: validation figures of the deployed model and of these policies.

    Raises:
        SalusError: as `read_figures` does.
    """
    return CapabilityEvidence(
        limits=config.limits,
        base=read_figures(folder, "validation", base),
        policies={version: read_figures(folder, "validation", version) for version in versions},
    )


def _held(limit: _Limit, old: Interval | None, new: Interval | None) -> Breach | None:
    if limit.most is None or old is None:
        return None
    if new is None:
        sentence = f"{limit.what} could not be measured, though the deployed model's was."
        return Breach(rule=limit.rule, value=None, limit=limit.most, sentence=sentence)
    loss = limit.loss(old.value, new.value)
    if loss <= limit.most + _ROUNDING:
        return None
    overlap = old.low <= new.high and new.low <= old.high
    chance = "the intervals overlap" if overlap else "the intervals do not overlap"
    sentence = (
        f"{limit.what} {_shown(new)} is {loss:.3g} {limit.comparison} the deployed model's {_shown(old)},"
        f" more than {limit.most:.3g} ({chance})."
    )
    return Breach(rule=limit.rule, value=loss, limit=limit.most, sentence=sentence)


def _shown(figure: Interval) -> str:
    return f"{figure.value:.3g} [{figure.low:.3g}, {figure.high:.3g}]"
