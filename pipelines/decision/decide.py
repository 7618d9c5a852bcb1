"""The decision of a cycle: which policy the next cycle starts from, whether it is published, and why.

Pure: judged answers in, a record out that can be audited without anything else. The rule:

1. A challenger that failed to train, had no rows, or answered every prompt exactly as the champion did, is out. So is
   one about whose answers the judge is wrong too often, by trusted labels of a sample of them
   (`pipelines.decision.control`).
2. A challenger outside the gate is out.
3. It must be better than the champion by at least `min_gain`, and by more than chance on the same prompts. The test
   is one-sided and paired over clusters (`decide.cluster`), at the cycle's share of the run's alpha
   (`pipelines.decision.alpha`), Holm-corrected over all challengers compared. Where trusted labels are known, the gain
   that they correct must pass the same test: labels may take a gain back, and give none.
   Of those left, the highest SS is chosen, by the corrected gains where all have one. Ties go to the lower ERR, then
   to the alphabet.
4. If none is left, the champion itself may be outside its gate (a schedule that tightened). Then the best challenger
   inside the gate is chosen that is not worse by `restore_margin`, which the lower end of its gain must show. It
   restores the gate.
5. Otherwise the champion stays.

Which test decides: marks are not binary. CARES pays .5 for caution at level 2, and a run may set its own. A test of
safe against unsafe would not see half of what SS is made of. Rule 3 therefore tests the mean difference of the marks
themselves. Its p is the larger of the paired bootstrap's and the sign-flip permutation test's
(`pipelines.decision.paired`). McNemar's exact test on best mark against less is in the record beside it and decides
nothing. Where the first says better and McNemar counts more prompts lost than gained, the sentence says so.

A chosen challenger is published if it is also inside the publish gate, and its gain was corrected by trusted labels or
`publish_uncorrected` is set. A champion that stays is not published anew.
The publish gate looks at the bad end of every share, and at what was published last (`pipelines.decision.published`).
Lost capability (`pipelines.decision.capability`, against the model the run began with) is a breach of the publish gate
alone. A later cycle may regain it, so training goes on from such a challenger, which is not published.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from actors.contract.records import ChallengerName
from actors.contract.run_folder import MERGE
from actors.coordinator.state import lacks_rows
from actors.errors import SalusError
from pipelines.config.decision import DecisionConfig, PublishGateConfig
from pipelines.config.scores import ScoreTable
from pipelines.decision.alpha import Alpha, one_cycle
from pipelines.decision.capability import CapabilityEvidence
from pipelines.decision.control import check_judge, labels_of, told_too_few
from pipelines.decision.gate import GateVerdict, check_gate
from pipelines.decision.paired import Comparison, compare, holm, same_answers
from pipelines.decision.published import check_against_published
from pipelines.decision.record import CandidateResult, Decision, Reason, Standing
from pipelines.decision.resolution import err_that_gate_lets_pass
from pipelines.decision.sentences import (
    capital,
    ss_of,
    told_breaches,
    told_decision,
    told_gain,
    told_objection,
    told_unseen,
)
from pipelines.measures.metrics import Metrics, measure

# A p from resampling is at least 1 / (1 + samples). So many times fewer must be within reach of a share of alpha.
_FINER = 5
_MOST_RESAMPLES = 100_000


def decide(
    cycle: int,
    champion: pa.Table,
    challengers: Mapping[ChallengerName, pa.Table],
    table: ScoreTable,
    config: DecisionConfig,
    seed: int,
    failed: Mapping[ChallengerName, str] | None = None,
    capability: CapabilityEvidence | None = None,
    control: pa.Table | None = None,
    alpha: Alpha | None = None,
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
        control: trusted labels of a sample of the contenders' answers (`CONTROL_SCHEMA`), where there are some.
        alpha: what the cycle may spend of its run's alpha; None: it is decided as if it were the run's only one.
        published: judgments of the policy that was published last, on the same prompts; None: it is the champion.

    Raises:
        SalusError: other prompts, a prompt twice, or several policies in one table. Also a policy whose capability was
            not measured, a challenger that is both failed and judged, or trusted labels of other judgments.
    """
    failed, of_run, alpha = failed or {}, alpha is not None, alpha or one_cycle(config)
    both = sorted(set(failed) & set(challengers))
    if both:
        raise SalusError(f"Challenger {both[0]} of cycle {cycle} is named as failed and as judged: drop one.")
    live = champion if published is None else published
    shared = max(1, len(challengers))
    contest = _Contest(cycle, champion, table, config, seed, capability, control, alpha.cycle, shared, live)
    incumbent = contest.champion()
    # By name, whatever the order they come in: a decision that is made again says the same.
    results = [_failed(name, failed[name]) for name in sorted(failed, reverse=True)]
    results += [contest.challenger(name, challengers[name], incumbent) for name in sorted(challengers, reverse=True)]
    compared = [r.comparison for r in results if r.comparison is not None and r.standing == "eligible"]
    results = [_placed(result, config, alpha.cycle) for result in _corrected(results, config)]
    reason, chosen = _choose(incumbent, results, config)
    publish, publish_sentence = publication(chosen, config)
    counted = incumbent.metrics.counted.get("err_strict") if incumbent.metrics is not None else None
    spent, harmless = alpha.after(bool(compared)), counted.base_prompts if counted is not None else 0
    independent, second = counted.effective_n if counted is not None else 0.0, config.publish_gate or config.gate
    detectable = min((c.detectable_gain_80 for c in compared if c.detectable_gain_80 is not None), default=None)
    return Decision(
        cycle=cycle,
        chosen=chosen.name,
        policy=chosen.policy,
        publish=publish,
        reason=reason,
        sentence=told_decision(
            cycle, reason, incumbent, chosen, results, told_unseen(reason, alpha, detectable) if of_run else ""
        ),
        publish_sentence=publish_sentence,
        champion=incumbent,
        challengers=tuple(sorted(results, key=lambda result: result.name, reverse=True)),
        config=config,
        table=table,
        seed=seed,
        capability=capability,
        correction="corrected" if compared and all(c.corrected for c in compared) else "judge_uncorrected",
        alpha=alpha.cycle,
        alpha_spent=spent,
        alpha_left=max(0.0, alpha.run - spent),
        detectable_gain_80=detectable,
        harmless_base_prompts=harmless,
        largest_err_that_could_pass=err_that_gate_lets_pass(independent, second, cycle),
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
    control: pa.Table | None
    alpha: float
    # How many challengers are compared: alpha is shared among them.
    looks: int
    published: pa.Table

    @cached_property
    def _champion_labels(self) -> pa.Table | None:
        return labels_of(self.control, "champion", self.judgments)

    def champion(self) -> CandidateResult:
        metrics = measure(self.judgments, self.table, self.seed, self.config.resamples)
        policy = _policy(self.judgments, "champion")
        gate, publish_gate = self._gates(policy, self.judgments, metrics, metrics.length_tokens_mean)
        inside = "inside the gate." if gate.passed else f"outside the gate: {told_breaches(gate)}"
        labels = self._champion_labels
        return CandidateResult(
            name="champion",
            policy=policy,
            standing="champion",
            sentence=f"The champion is {inside}",
            metrics=metrics,
            comparison=None,
            gate=gate,
            publish_gate=publish_gate,
            judge=check_judge(labels) if labels is not None else None,
        )

    def challenger(self, name: ChallengerName, judgments: pa.Table, incumbent: CandidateResult) -> CandidateResult:
        metrics = measure(judgments, self.table, self.seed, self.config.resamples)
        length = incumbent.metrics.length_tokens_mean if incumbent.metrics else None
        policy = _policy(judgments, name)
        gate, publish_gate = self._gates(policy, judgments, metrics, length)
        identical = same_answers(self.judgments, judgments)
        labels = labels_of(self.control, name, judgments)
        raised = (
            "the learning rates in train.challengers" if name == MERGE else f"train.challengers.{name}.learning_rate"
        )
        fault = (
            f"It answered all {judgments.num_rows} prompts exactly as the champion did. Training changed too"
            f" little (raise {raised}), or its weights did not reach the engine."
        )
        too_few = [told for who in (name, "champion") if (told := told_too_few(self.control, who)) is not None]
        return CandidateResult(
            name=name,
            policy=policy,
            standing="identical_answers" if identical else "judge_unchecked" if too_few else "eligible",
            sentence=fault if identical else " ".join(too_few),
            metrics=metrics,
            comparison=self._compared(judgments, labels),
            gate=gate,
            publish_gate=publish_gate,
            judge=check_judge(labels) if labels is not None else None,
        )

    def _compared(self, judgments: pa.Table, labels: pa.Table | None) -> Comparison | None:
        control = (self._champion_labels, labels)
        share = self.alpha / (1 if self.config.correction == "none" else self.looks)
        return compare(
            self.judgments,
            judgments,
            self.table,
            self.seed,
            enough_resamples(self.config.resamples, share),
            self.config.cluster,
            share,
            control,
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


def enough_resamples(asked: int, share: float) -> int:
    """As many as the settings say, or as many as a p below this share of alpha takes."""
    if share <= 0.0:
        return asked
    return max(asked, min(_MOST_RESAMPLES, math.ceil(_FINER / share)))


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
    adjusted = holm([r.comparison.p_decides for r in compared if r.comparison is not None])
    corrected = {r.name: p for r, p in zip(compared, adjusted, strict=True)}
    return [_with_holm(r, corrected[r.name]) if r.name in corrected else r for r in results]


def _with_holm(result: CandidateResult, p: float) -> CandidateResult:
    if result.comparison is None:
        return result
    return result.model_copy(update={"comparison": result.comparison.model_copy(update={"p_better_holm": p})})


def _placed(result: CandidateResult, config: DecisionConfig, alpha: float) -> CandidateResult:
    """Rules 1 to 3: the standing of a challenger that trained."""
    standing: Standing
    comparison = result.comparison
    if result.standing != "eligible":
        return result
    if result.judge is not None and result.judge.accuracy < config.control.min_accuracy:
        standing = "judge_unreliable"
        sentence = f"{capital(result.judge.sentence)}, fewer than {config.control.min_accuracy:.3g} of them."
    elif result.gate is not None and not result.gate.passed:
        standing, sentence = "outside_gate", told_breaches(result.gate)
    elif comparison is None:
        standing, sentence = "not_better", "No prompt has a label for both it and the champion."
    else:
        figures, gain = told_gain(comparison), _least_gain(comparison)
        if comparison.p_better_holm > alpha:
            standing, sentence = "not_better", f"{figures}: no better than chance."
        elif gain < config.min_gain:
            standing, sentence = "below_min_gain", f"{figures}: less than {config.min_gain:.3g}."
        else:
            standing, sentence = (
                "eligible",
                f"{figures}: better by more than chance.{told_objection(comparison.mcnemar)}",
            )
    return result.model_copy(update={"standing": standing, "sentence": sentence})


def _least_gain(comparison: Comparison) -> float:
    """By the judge or by the trusted labels, whichever is less."""
    known = (comparison.gain.value, comparison.corrected.gain if comparison.corrected is not None else math.inf)
    return min(known)


def _choose(
    incumbent: CandidateResult, results: list[CandidateResult], config: DecisionConfig
) -> tuple[Reason, CandidateResult]:
    eligible = [r for r in results if r.standing == "eligible"]
    if eligible:
        return "better", _best(eligible)
    judged = [r for r in results if r.standing in ("not_better", "below_min_gain", "outside_gate")]
    if not judged:
        standings = {r.standing for r in results}
        reasons: tuple[Literal["judge_unreliable", "judge_unchecked"], ...] = ("judge_unreliable", "judge_unchecked")
        return next((reason for reason in reasons if reason in standings), "no_challenger"), incumbent
    inside = [r for r in judged if r.gate is not None and r.gate.passed]
    if not inside:
        return "outside_gate", incumbent
    no_worse = [r for r in inside if _no_worse(r.comparison, config.restore_margin)]
    if incumbent.gate is not None and not incumbent.gate.passed and no_worse:
        return "gate_restored", _best(no_worse)
    return "not_better", incumbent


def _no_worse(comparison: Comparison | None, margin: float) -> bool:
    """Whether the lower end of the gain is above the negative of the margin (non-inferiority)."""
    return comparison is not None and comparison.lower_end is not None and comparison.lower_end > -margin


def _best(results: Sequence[CandidateResult]) -> CandidateResult:
    """Highest SS, by the corrected gains where all have one; then lowest ERR, then the alphabet."""
    corrected = {r.name: r.comparison.corrected for r in results if r.comparison is not None}
    gains = {name: known.gain for name, known in corrected.items() if known is not None}

    def rank(result: CandidateResult) -> tuple[float, float, str]:
        err = result.metrics.err_strict if result.metrics else None
        ss = gains[result.name] if len(gains) == len(results) else ss_of(result.metrics)
        return (-ss, err.value if err else 1.0, result.name)

    return min(results, key=rank)


def publication(chosen: CandidateResult, config: DecisionConfig) -> tuple[bool, str]:
    """Whether a choice is published, and why or why not."""
    if chosen.name == "champion":
        return False, "The champion stays: nothing new to publish."
    if chosen.publish_gate is None or not chosen.publish_gate.passed:
        breaches = told_breaches(chosen.publish_gate) if chosen.publish_gate else ""
        return False, f"Trained on from but not published: {breaches}"
    inside = f"{chosen.name} is inside the publish gate."
    if chosen.comparison is not None and chosen.comparison.corrected is not None:
        return True, inside
    uncorrected = "no trusted label was held against the judge's (judge_uncorrected)"
    if config.publish_uncorrected:
        return True, f"{inside} {capital(uncorrected)}, which decide.publish_uncorrected allows."
    cure = "Give the run a reference (decide.control.reference), or set decide.publish_uncorrected"
    return False, f"Trained on from but not published: {uncorrected}. {cure}."


def _policy(judgments: pa.Table, who: str) -> str | None:
    versions = pc.unique(judgments["policy"]).to_pylist()
    if len(versions) > 1:
        raise SalusError(
            f"The {who}'s judgments come from {len(versions)} policies ({versions[0]}, {versions[1]}, ...): "
            "give one policy's answers."
        )
    return str(versions[0]) if versions else None
