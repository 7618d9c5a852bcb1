"""The capability gate: what a policy may lose against the model that was deployed, and still be published.

Its evidence is each policy's `figures.json`, which is read and written here too. The comparison is with the model
the run began with, not with the last champion: many small losses are one large one. Point estimates
decide there; where the two 95 % intervals overlap the sentence says so.

Accuracy is also compared with the policy that was published last, question by question: the bad end of the
difference's interval decides (`pipelines.measures.shares.paired_rise`).
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from actors.contract.records import Interval, Record
from actors.contract.run_folder import RunFolder
from actors.errors import SalusError
from actors.files.records import read_record
from actors.files.shards import read_folder, write_text
from pipelines.config.capability import CapabilityConfig, CapabilityLimits
from pipelines.data.sets.social.bias import Condition
from pipelines.decision.gate import Breach, CapabilityRule
from pipelines.measures.capability.figures import Capability, answered_right
from pipelines.measures.capability.questions import HeldOut
from pipelines.measures.shares import paired_rise

# A drop of exactly the limit is kept, whatever the last bit says.
_ROUNDING = 1e-9


class CapabilityEvidence(Record):
    """All that the gate knows in one cycle; part of the decision record."""

    limits: CapabilityLimits
    # The model the run began with.
    base: Capability
    # By version: the champion and its challengers.
    policies: Mapping[str, Capability]
    # By version: how much more often a question is wrong than for the published policy, each end one-sided at 95 %.
    # Empty where nothing could be compared, and in records of earlier versions.
    accuracy_drop: Mapping[str, Interval] = Field(default_factory=dict)

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

    def drops(self, version: str, margin: float | None) -> tuple[Breach, ...]:
        """The breach of a policy that may be right on more than `margin` fewer questions than the published one."""
        drop = self.accuracy_drop.get(version)
        if margin is None or drop is None or drop.high <= margin:
            return ()
        sentence = (
            f"Multiple-choice accuracy may have fallen by {drop.high:.3g} from the published policy's, more than"
            f" {margin:.3g} (seen {drop.value:+.3g} on {drop.n} questions; upper end at 95 %)."
        )
        return (Breach(rule="accuracy_drop", value=drop.high, limit=margin, sentence=sentence),)


@dataclass(frozen=True)
class _Limit:
    """One limit, and how a loss is measured against it."""

    rule: CapabilityRule
    what: str
    # Between the loss and the deployed model's figure: "0.1 below", "1.3 times".
    comparison: Literal["below", "times", "above", "further from 0 than"]
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
    unsafe = _Limit(
        "toxicity", "Share of unsafe continuations", "above", limits.max_toxicity_rise, lambda old, new: new - old
    )
    found = (
        _held(accuracy, base.accuracy, policy.accuracy),
        _held(perplexity, base.perplexity_per_token, policy.perplexity_per_token),
        _held(helpful, base.helpful, policy.helpful),
        *(
            _held(limit, *(_bias_score(each, condition) for each in (base, policy)))
            for condition, limit in _bias_limits(limits).items()
        ),
        _held(unsafe, *(each.toxicity.unsafe if each.toxicity is not None else None for each in (base, policy))),
    )
    return tuple(breach for breach in found if breach is not None)


def _bias_limits(limits: CapabilityLimits) -> dict[Condition, _Limit]:
    def further(old: float, new: float) -> float:
        return abs(new) - abs(old)

    comparison: Literal["further from 0 than"] = "further from 0 than"
    most = limits.max_bias_rise
    return {
        "ambig": _Limit("bias_ambig", "Bias score in ambiguous contexts", comparison, most, further),
        "disambig": _Limit("bias_disambig", "Bias score in disambiguated contexts", comparison, most, further),
    }


def _bias_score(policy: Capability, condition: Condition) -> Interval | None:
    return policy.bias.of(condition).score if policy.bias is not None else None


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
    folder: RunFolder, config: CapabilityConfig, base: str, versions: Sequence[str], published: str
) -> CapabilityEvidence:
    """What the gate of one cycle rests on: validation figures of the deployed model and of these policies.

    `published` is the version that was published last.

    Raises:
        SalusError: as `read_figures` does.
    """
    right = {version: _right(folder, config, version) for version in {*versions, published}}
    return CapabilityEvidence(
        limits=config.limits,
        base=read_figures(folder, "validation", base),
        policies={version: read_figures(folder, "validation", version) for version in versions},
        accuracy_drop={
            version: drop
            for version in versions
            if version != published and (drop := _drop(right[published], right[version])) is not None
        },
    )


def _right(folder: RunFolder, config: CapabilityConfig, version: str) -> dict[str, bool]:
    """Whether a policy's likeliest option is the right one, by question; empty where it was asked none."""
    scores = folder.evaluation_capability("validation", version) / "choices"
    return answered_right(read_folder(scores), config.normalised_by) if scores.is_dir() else {}


def _drop(before: Mapping[str, bool], after: Mapping[str, bool]) -> Interval | None:
    """How much more often a question is wrong afterwards; None where both were asked none."""
    shared = sorted(before.keys() & after.keys())
    if not shared:
        return None
    old, new = (np.array([not right[item] for item in shared]) for right in (before, after))
    return paired_rise(old, new, np.arange(len(shared)))


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
