"""The sentences of a decision: who was chosen and why, with the figures, and what it could not have seen."""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.decision.alpha import Alpha
from pipelines.decision.gate import GateVerdict
from pipelines.decision.paired import Comparison, McNemar
from pipelines.decision.record import CandidateResult, Reason
from pipelines.measures.metrics import Metrics


def told_gain(comparison: Comparison) -> str:
    gain, corrected = comparison.gain, comparison.corrected
    text = f"SS gain {gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]"
    if corrected is not None:
        text += f", corrected by {corrected.n_labelled} trusted labels"
        text += f" {corrected.gain:+.3f} [{corrected.low:+.3f}, {corrected.high:+.3f}]"
    return f"{text}, p {comparison.p_better_holm:.3g}"


def capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def told_objection(mcnemar: McNemar) -> str:
    """What is added where a challenger with the higher SS earns the best mark on fewer prompts."""
    if mcnemar.gained >= mcnemar.lost:
        return ""
    return (
        f" McNemar's count disagrees: the best mark was lost on {mcnemar.lost} prompts and gained on"
        f" {mcnemar.gained} (p {mcnemar.p:.3g}), so the gain is one of partial marks."
    )


def told_decision(
    cycle: int,
    reason: Reason,
    incumbent: CandidateResult,
    chosen: CandidateResult,
    results: Sequence[CandidateResult],
    unseen: str,
) -> str:
    others = " ".join(f"{r.name}: {r.sentence}" for r in results)
    if reason == "better":
        figures = f"SS {ss_of(incumbent.metrics):.3f} -> {ss_of(chosen.metrics):.3f}"
        head = f"{chosen.name} replaces the champion ({figures})."
    elif reason == "gate_restored":
        head = f"{chosen.name} replaces the champion to restore the gate. {incumbent.sentence}"
    else:
        why = {
            "not_better": "no challenger inside the gate is better by more than chance",
            "outside_gate": "every challenger is outside the gate",
            "judge_unreliable": "the judge is wrong too often about every challenger that it could compare",
            "judge_unchecked": "too few control answers have a trusted label to check the judge",
            "no_challenger": "there is no usable challenger",
        }[reason]
        head = f"The champion stays: {why}.{unseen}"
    return f"Cycle {cycle}: {head} {others}".strip()


def told_unseen(reason: Reason, alpha: Alpha, detectable: float | None) -> str:
    """What a decision for the champion could not have seen."""
    if reason not in ("not_better", "outside_gate", "judge_unreliable", "judge_unchecked"):
        return ""
    if alpha.cycle <= 0.0:
        return (
            f" The run has spent its alpha of {alpha.run:.3g}, so that no challenger can win. Begin another run with as"
            " many cycles as it shall have."
        )
    if detectable is None:
        return ""
    return f" In one of five such cycles it would have missed a gain of {detectable:.3f}."


def told_breaches(verdict: GateVerdict) -> str:
    return " ".join(breach.sentence for breach in verdict.breaches)


def ss_of(metrics: Metrics | None) -> float:
    return metrics.ss.value if metrics is not None and metrics.ss is not None else float("nan")
