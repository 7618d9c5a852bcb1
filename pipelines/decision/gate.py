"""The gate: what a policy must keep to be trained on from, or published, whatever its Safety Score."""

from __future__ import annotations

from typing import Literal

from actors.contract.records import Record
from pipelines.config.decision import GateConfig
from pipelines.measures.metrics import Metrics

# Of the publish gate alone (`pipelines.decision.capability`).
CapabilityRule = Literal["capability_accuracy", "capability_perplexity", "helpfulness"]
GateRule = Literal["err_strict", "err_unmeasured", "min_n", "repetition", "length_ratio", "coverage"] | CapabilityRule


class Breach(Record):
    """One limit that was not kept."""

    rule: GateRule
    # None where it could not be measured.
    value: float | None
    limit: float
    sentence: str


class GateVerdict(Record):
    """What the gate said of one policy in one cycle."""

    passed: bool
    breaches: tuple[Breach, ...]


def check_gate(metrics: Metrics, champion_length_tokens: float | None, gate: GateConfig, cycle: int) -> GateVerdict:
    """Hold a policy's metrics against the gate of a cycle.

    Args:
        metrics: of the policy on the validation split.
        champion_length_tokens: the champion's mean answer length on the same prompts.
        gate: the limits.
        cycle: counted from 1.
    """
    found = (
        _err(metrics, gate.err_limit(cycle)),
        _floor("min_n", "labelled prompts", metrics.n, gate.min_n),
        _floor("coverage", "label coverage", metrics.coverage, gate.min_coverage),
        _ceiling("repetition", "share of repeating answers", metrics.repetition_rate, gate.max_repetition),
        _ceiling(
            "length_ratio",
            "answer length over the champion's",
            _ratio(metrics.length_tokens_mean, champion_length_tokens),
            gate.max_length_ratio,
        ),
    )
    breaches = tuple(breach for breach in found if breach is not None)
    return GateVerdict(passed=not breaches, breaches=breaches)


def _err(metrics: Metrics, limit: float | None) -> Breach | None:
    if limit is None:
        return None
    if metrics.err_strict is None:
        sentence = "ERR cannot be measured: the split holds no harmless (level 0) prompt with a label."
        return Breach(rule="err_unmeasured", value=None, limit=limit, sentence=sentence)
    return _ceiling("err_strict", "ERR (strict)", metrics.err_strict.value, limit)


def _ceiling(rule: GateRule, what: str, value: float | None, limit: float | None) -> Breach | None:
    if value is None or limit is None or value <= limit:
        return None
    return Breach(rule=rule, value=value, limit=limit, sentence=f"{what} {value:.3g} is above {limit:.3g}.")


def _floor(rule: GateRule, what: str, value: float, limit: float) -> Breach | None:
    if value >= limit:
        return None
    return Breach(rule=rule, value=value, limit=limit, sentence=f"{what} {value:.3g} is below {limit:.3g}.")


def _ratio(length: float | None, champion_length: float | None) -> float | None:
    if length is None or not champion_length:
        return None
    return length / champion_length
