"""The decision of a cycle: which policy the next cycle starts from, whether it is published, and why.

Pure: judged answers in, a record out that can be audited without anything else. The rule:

1. A challenger that failed to train, had no rows, or answered every prompt exactly as the champion did, is out.
2. A challenger outside the gate is out.
3. It must be better than the champion by at least `min_gain`, and by more than chance on the same prompts. The test
   is one-sided and paired over base prompts, at 1 - confidence, Holm-corrected over all challengers compared.
   Of those left, the highest SS is chosen; ties go to the lower ERR, then to the alphabet.
4. If none is left, the champion itself may be outside its gate (a schedule that tightened). Then the best challenger
   inside the gate that is not significantly worse is chosen: it restores the gate.
5. Otherwise the champion stays.

Which test decides: marks are not binary. CARES pays .5 for caution at level 2, and a run may set its own. A test of
safe against unsafe would not see half of what SS is made of. Rule 3 therefore tests the mean difference of the marks
themselves. Its p is the larger of the paired bootstrap's and the sign-flip permutation test's
(`pipelines.decision.paired`). McNemar's exact test on best mark against less is in the record beside it and decides
nothing. Where the first says better and McNemar counts more prompts lost than gained, the sentence says so.

A chosen challenger is published if it is also inside the publish gate; a champion that stays is not published anew.
That gate looks at the bad end of every share, and at what was published last (`pipelines.decision.published`).
Lost capability (`pipelines.decision.capability`, against the model the run began with) is a breach of the publish gate
alone. A later cycle may regain it, so training goes on from such a challenger, which is not published.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from actors.contract.records import ChallengerName
from actors.coordinator.state import lacks_rows
from actors.errors import SalusError
from pipelines.config.decision import DecisionConfig, PublishGateConfig
from pipelines.config.scores import ScoreTable
from pipelines.decision.capability import CapabilityEvidence
from pipelines.decision.gate import GateVerdict, check_gate
from pipelines.decision.paired import McNemar, compare, holm, same_answers
from pipelines.decision.published import check_against_published
from pipelines.decision.record import CandidateResult, Decision, Reason, Standing
from pipelines.measures.metrics import Metrics, measure


def decide(
    cycle: int,
    champion: pa.Table,
    challengers: Mapping[ChallengerName, pa.Table],
    table: ScoreTable,
    config: DecisionConfig,
    seed: int,
    failed: Mapping[ChallengerName, str] | None = None,
    capability: CapabilityEvidence | None = None,
    published: pa.Table | None = None,
) -> Decision:
    """Choose between the champion and its challengers by their judged answers on the validation split.

    Args:
        cycle: counted from 1.
        champion: the champion's judgments (`JUDGMENT_SCHEMA`), one answer per prompt.
        challengers: the same for each challenger, on the same prompts, in any order.
        table: the marks.
        config: the rule's settings.
        seed: of all resampling.
        failed: for each challenger whose training failed or lacked rows, what happened.
        capability: figures of every policy, where the run measures them.
        published: judgments of the policy that was published last, on the same prompts; None: it is the champion.

    Raises:
        SalusError: other prompts, a prompt twice, or several policies in one table. Also a policy whose capability was
            not measured, or a challenger that is both failed and judged.
    """
    failed = failed or {}
    both = sorted(set(failed) & set(challengers))
    if both:
        raise SalusError(f"Challenger {both[0]} of cycle {cycle} is named as failed and as judged: drop one.")
    live = champion if published is None else published
    contest = _Contest(cycle, champion, table, config, seed, capability, live)
    incumbent = contest.champion()
    # By name, whatever the order they come in: a decision that is made again says the same.
    results = [_failed(name, failed[name]) for name in sorted(failed, reverse=True)]
    results += [contest.challenger(name, challengers[name], incumbent) for name in sorted(challengers, reverse=True)]
    results = [_placed(result, config) for result in _corrected(results, config)]
    reason, chosen = _choose(incumbent, results, config)
    publish, publish_sentence = _publication(chosen)
    return Decision(
        cycle=cycle,
        chosen=chosen.name,
        policy=chosen.policy,
        publish=publish,
        reason=reason,
        sentence=_sentence(cycle, reason, incumbent, chosen, results),
        publish_sentence=publish_sentence,
        champion=incumbent,
        challengers=tuple(sorted(results, key=lambda result: result.name, reverse=True)),
        config=config,
        table=table,
        seed=seed,
        capability=capability,
        published=_policy(live, "published policy") if config.publish_gate is not None else None,
    )


@dataclass(frozen=True)
class _Contest:
    """One cycle's comparison: measures each policy the same way."""

    cycle: int
    judgments: pa.Table
    table: ScoreTable
    config: DecisionConfig
    seed: int
    capability: CapabilityEvidence | None
    published: pa.Table

    def champion(self) -> CandidateResult:
        metrics = measure(self.judgments, self.table, self.seed, self.config.resamples)
        policy = _policy(self.judgments, "champion")
        gate, publish_gate = self._gates(policy, self.judgments, metrics, metrics.length_tokens_mean)
        inside = "inside the gate." if gate.passed else f"outside the gate: {_breaches(gate)}"
        return CandidateResult(
            name="champion",
            policy=policy,
            standing="champion",
            sentence=f"The champion is {inside}",
            metrics=metrics,
            comparison=None,
            gate=gate,
            publish_gate=publish_gate,
        )

    def challenger(self, name: ChallengerName, judgments: pa.Table, incumbent: CandidateResult) -> CandidateResult:
        metrics = measure(judgments, self.table, self.seed, self.config.resamples)
        length = incumbent.metrics.length_tokens_mean if incumbent.metrics else None
        policy = _policy(judgments, name)
        gate, publish_gate = self._gates(policy, judgments, metrics, length)
        identical = same_answers(self.judgments, judgments)
        fault = (
            f"It answered all {judgments.num_rows} prompts exactly as the champion did: its weights did not "
            "reach the engine, or training changed nothing."
        )
        return CandidateResult(
            name=name,
            policy=policy,
            standing="identical_answers" if identical else "eligible",
            sentence=fault if identical else "",
            metrics=metrics,
            comparison=compare(self.judgments, judgments, self.table, self.seed, self.config.resamples),
            gate=gate,
            publish_gate=publish_gate,
        )

    def _gates(
        self, policy: str | None, judgments: pa.Table, metrics: Metrics, champion_length: float | None
    ) -> tuple[GateVerdict, GateVerdict]:
        """The gate's verdict and the publish gate's."""
        gates = (self.config.gate, self.config.publish_gate or self.config.gate)
        first, second = (check_gate(metrics, champion_length, gate, self.cycle) for gate in gates)
        lost = self.capability.breaches(policy) if self.capability is not None and policy is not None else ()
        if isinstance(gates[1], PublishGateConfig):
            lost += check_against_published(self.published, judgments, gates[1])
            if self.capability is not None and policy is not None:
                lost += self.capability.drops(policy, gates[1].max_accuracy_drop)
        return first, GateVerdict(passed=second.passed and not lost, breaches=(*second.breaches, *lost))


def _failed(name: ChallengerName, sentence: str) -> CandidateResult:
    return CandidateResult(
        name=name,
        policy=None,
        standing="no_rows" if lacks_rows(sentence) else "training_failed",
        sentence=sentence,
        metrics=None,
        comparison=None,
        gate=None,
        publish_gate=None,
    )


def _corrected(results: list[CandidateResult], config: DecisionConfig) -> list[CandidateResult]:
    """Holm over every challenger that was compared, inside the gate or not: all had their chance."""
    compared = [r for r in results if r.comparison is not None and r.standing == "eligible"]
    if config.correction == "none":
        return results
    adjusted = holm([r.comparison.p_better for r in compared if r.comparison is not None])
    corrected = {r.name: p for r, p in zip(compared, adjusted, strict=True)}
    return [_with_holm(r, corrected[r.name]) if r.name in corrected else r for r in results]


def _with_holm(result: CandidateResult, p: float) -> CandidateResult:
    if result.comparison is None:
        return result
    return result.model_copy(update={"comparison": result.comparison.model_copy(update={"p_better_holm": p})})


def _placed(result: CandidateResult, config: DecisionConfig) -> CandidateResult:
    """Rules 2 and 3: the standing of a challenger that trained."""
    standing: Standing
    comparison = result.comparison
    if result.standing != "eligible":
        return result
    if result.gate is not None and not result.gate.passed:
        standing, sentence = "outside_gate", _breaches(result.gate)
    elif comparison is None:
        standing, sentence = "not_better", "No prompt has a label for both it and the champion."
    else:
        gain = comparison.gain
        figures = f"SS gain {gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]"
        figures += f", p {comparison.p_better_holm:.3g}"
        if comparison.p_better_holm > 1.0 - config.confidence:
            standing, sentence = "not_better", f"{figures}: no better than chance."
        elif gain.value < config.min_gain:
            standing, sentence = "below_min_gain", f"{figures}: less than {config.min_gain:.3g}."
        else:
            standing, sentence = "eligible", f"{figures}: better by more than chance.{_objection(comparison.mcnemar)}"
    return result.model_copy(update={"standing": standing, "sentence": sentence})


def _objection(mcnemar: McNemar) -> str:
    """What is added where a challenger with the higher SS earns the best mark on fewer prompts."""
    if mcnemar.gained >= mcnemar.lost:
        return ""
    return (
        f" McNemar's count disagrees: the best mark was lost on {mcnemar.lost} prompts and gained on"
        f" {mcnemar.gained} (p {mcnemar.p:.3g}), so the gain is one of partial marks."
    )


def _choose(
    incumbent: CandidateResult, results: list[CandidateResult], config: DecisionConfig
) -> tuple[Reason, CandidateResult]:
    eligible = [r for r in results if r.standing == "eligible"]
    if eligible:
        return "better", min(eligible, key=_rank)
    judged = [r for r in results if r.standing in ("not_better", "below_min_gain", "outside_gate")]
    if not judged:
        return "no_challenger", incumbent
    inside = [r for r in judged if r.gate is not None and r.gate.passed]
    if not inside:
        return "outside_gate", incumbent
    safe_to_take = [r for r in inside if r.comparison is not None and r.comparison.p_worse > 1.0 - config.confidence]
    if incumbent.gate is not None and not incumbent.gate.passed and safe_to_take:
        return "gate_restored", min(safe_to_take, key=_rank)
    return "not_better", incumbent


def _rank(result: CandidateResult) -> tuple[float, float, str]:
    """Best first: highest SS, then lowest ERR, then the alphabet."""
    err = result.metrics.err_strict if result.metrics else None
    return (-_ss(result.metrics), err.value if err else 1.0, result.name)


def _publication(chosen: CandidateResult) -> tuple[bool, str]:
    if chosen.name == "champion":
        return False, "The champion stays: nothing new to publish."
    if chosen.publish_gate is None or not chosen.publish_gate.passed:
        breaches = _breaches(chosen.publish_gate) if chosen.publish_gate else ""
        return False, f"Trained on from but not published: {breaches}"
    return True, f"{chosen.name} is inside the publish gate."


def _sentence(
    cycle: int,
    reason: Reason,
    incumbent: CandidateResult,
    chosen: CandidateResult,
    results: list[CandidateResult],
) -> str:
    others = " ".join(f"{r.name}: {r.sentence}" for r in results)
    if reason == "better":
        figures = f"SS {_ss(incumbent.metrics):.3f} -> {_ss(chosen.metrics):.3f}"
        head = f"{chosen.name} replaces the champion ({figures})."
    elif reason == "gate_restored":
        head = f"{chosen.name} replaces the champion to restore the gate. {incumbent.sentence}"
    else:
        why = {
            "not_better": "no challenger inside the gate is better by more than chance",
            "outside_gate": "every challenger is outside the gate",
            "no_challenger": "there is no usable challenger",
        }[reason]
        head = f"The champion stays: {why}."
    return f"Cycle {cycle}: {head} {others}".strip()


def _breaches(verdict: GateVerdict) -> str:
    return " ".join(breach.sentence for breach in verdict.breaches)


def _ss(metrics: Metrics | None) -> float:
    return metrics.ss.value if metrics is not None and metrics.ss is not None else float("nan")


def _policy(judgments: pa.Table, who: str) -> str | None:
    versions = pc.unique(judgments["policy"]).to_pylist()
    if len(versions) > 1:
        raise SalusError(
            f"The {who}'s judgments come from {len(versions)} policies ({versions[0]}, {versions[1]}, ...): "
            "give one policy's answers."
        )
    return str(versions[0]) if versions else None
