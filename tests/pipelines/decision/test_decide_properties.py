"""What holds of every decision, over random judged tables, gates and settings."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.contract.records import LABELS, ChallengerName
from pipelines.config.decision import DecisionConfig, GateConfig, PublishGateConfig
from pipelines.config.scores import ScoreTable
from pipelines.decision.decide import decide
from pipelines.decision.record import CandidateResult, Decision
from tests.pipelines.judged import BEST, judged, shuffled

TABLE = ScoreTable()
MARKS = TABLE.marks()
LEVELS = [0, 1, 2, 3] * 10
OPEN = GateConfig(err_strict_max=(), min_n=1, max_repetition=None, max_length_ratio=None, min_coverage=0.0)
EXAMPLES = settings(max_examples=30, deadline=None)
Labels = list[str | None]
shares = st.floats(0.0, 1.0)


@dataclass(frozen=True)
class Case:
    """Three policies, each right on a share of the prompts, and the rule's settings."""

    seed: int
    skills: tuple[float, float, float]
    missing: float
    tokens: tuple[int, int, int]
    err_limit: float
    publish_err_limit: float | None
    min_gain: float

    @cached_property
    def labels(self) -> dict[str, Labels]:
        rng = np.random.default_rng(self.seed)
        return {name: self._draw(skill, rng) for name, skill in zip(("v0", "k1", "d1"), self.skills, strict=True)}

    def _draw(self, skill: float, rng: np.random.Generator) -> Labels:
        known = rng.random(len(LEVELS)) >= self.missing
        right = rng.random(len(LEVELS)) < skill
        others = rng.choice(LABELS, len(LEVELS))
        return [
            (BEST[level] if ok else str(other)) if there else None
            for level, ok, other, there in zip(LEVELS, right, others, known, strict=True)
        ]

    @property
    def config(self) -> DecisionConfig:
        gate = GateConfig(err_strict_max=(self.err_limit,), min_n=30, max_length_ratio=2.0, min_coverage=0.8)
        limit = self.publish_err_limit
        strict = None
        if limit is not None:
            # At the shares that were seen, so that they can be counted by hand.
            strict = PublishGateConfig(err_strict_max=(limit,), bound="point", max_severe_rise=None, max_err_rise=None)
        return DecisionConfig(
            gate=gate,
            publish_gate=strict,
            min_gain=self.min_gain,
            resamples=100,
            publish_uncorrected=True,
            restore_margin=0.2,
        )

    def table(self, name: str) -> pa.Table:
        tokens = self.tokens[("v0", "k1", "d1").index(name)]
        return judged(LEVELS, self.labels[name], policy=name, tokens=tokens)

    def decide(self) -> Decision:
        return decide(1, self.table("v0"), {"kto": self.table("k1"), "dpo": self.table("d1")}, TABLE, self.config, 0)


cases = st.builds(
    Case,
    seed=st.integers(0, 2**32 - 1),
    skills=st.tuples(shares, shares, shares),
    missing=st.sampled_from([0.0, 0.0, 0.1, 0.3]),
    tokens=st.tuples(*[st.sampled_from([10, 15, 40])] * 3),
    err_limit=st.sampled_from([0.1, 0.3, 0.6]),
    publish_err_limit=st.none() | st.sampled_from([0.0, 0.2]),
    min_gain=st.sampled_from([0.0, 0.3]),
)


def err_strict(labels: Labels) -> float | None:
    """ERR counted by hand; None where no harmless prompt has a label."""
    harmless = [label for level, label in zip(LEVELS, labels, strict=True) if level == 0 and label is not None]
    return harmless.count("Refuse") / len(harmless) if harmless else None


def mark(level: int, label: str | None) -> float:
    return float("nan") if label is None else float(MARKS[level, LABELS.index(label)])


def winner(decision: Decision) -> CandidateResult:
    return next(c for c in decision.challengers if c.name == decision.chosen)


@EXAMPLES
@given(cases)
def test_no_challenger_outside_the_gate_is_chosen_and_none_outside_the_publish_gate_goes_live(case: Case) -> None:
    decision = case.decide()
    if decision.chosen == "champion":
        assert decision.policy == "v0" and not decision.publish
        return
    # By hand from the labels, not by what the record says of them.
    labels = case.labels[str(decision.policy)]
    err, seen = err_strict(labels), len(LEVELS) - labels.count(None)
    tokens = dict(zip(("v0", "k1", "d1"), case.tokens, strict=True))
    assert err is not None and err <= case.err_limit
    assert seen >= 30 and seen / len(LEVELS) >= 0.8
    assert tokens[str(decision.policy)] / tokens["v0"] <= 2.0
    if decision.publish:
        assert err <= (case.err_limit if case.publish_err_limit is None else case.publish_err_limit)
    else:
        assert case.publish_err_limit is not None and err > case.publish_err_limit


@EXAMPLES
@given(cases)
def test_better_is_better_by_more_than_chance_and_the_best_of_those(case: Case) -> None:
    decision = case.decide()
    if decision.reason != "better":
        return
    chosen = winner(decision)
    assert chosen.comparison is not None and chosen.metrics is not None and chosen.metrics.ss is not None
    assert chosen.comparison.p_better_holm <= 0.05 + 1e-12
    assert chosen.comparison.p_better_holm >= chosen.comparison.p_better
    # No gain, no winner: a tie keeps the champion.
    assert chosen.comparison.gain.value > 0.0 and chosen.comparison.gain.value >= case.min_gain
    rivals = [c for c in decision.challengers if c.standing == "eligible" and c.metrics and c.metrics.ss]
    assert chosen.metrics.ss.value == max(c.metrics.ss.value for c in rivals if c.metrics and c.metrics.ss)


@EXAMPLES
@given(cases, st.integers(0, 2**32 - 1), shares)
def test_a_challenger_with_no_better_mark_anywhere_is_never_better(case: Case, seed: int, share: float) -> None:
    """The champion is made from the challengers: never below the better of the two, and on some prompts best."""
    raised = np.random.default_rng(seed).random(len(LEVELS)) < share
    pairs = zip(LEVELS, case.labels["k1"], case.labels["d1"], raised, strict=True)
    champion = [
        BEST[level]
        if up
        else max(kto, dpo, key=lambda label, level=level: -1.0 if label is None else mark(level, label))
        for level, kto, dpo, up in pairs
    ]
    challengers: dict[ChallengerName, pa.Table] = {"kto": case.table("k1"), "dpo": case.table("d1")}
    config = case.config.model_copy(update={"gate": OPEN, "min_gain": 0.0})
    decision = decide(1, judged(LEVELS, champion, policy="v0"), challengers, TABLE, config, 0)
    assert decision.reason != "better" and decision.chosen == "champion"


@EXAMPLES
@given(cases)
def test_equal_challengers_keep_the_champion(case: Case) -> None:
    same = {name: judged(LEVELS, case.labels["v0"], policy=name) for name in ("v0", "k1", "d1")}
    config = case.config.model_copy(update={"gate": OPEN, "min_gain": 0.0})
    decision = decide(1, same["v0"], {"kto": same["k1"], "dpo": same["d1"]}, TABLE, config, 0)
    assert decision.chosen == "champion"


@EXAMPLES
@given(cases, st.integers(0, 2**31))
def test_neither_the_order_of_rows_nor_of_challengers_matters(case: Case, seed: int) -> None:
    champion, kto, dpo = (shuffled(case.table(name), seed + i) for i, name in enumerate(("v0", "k1", "d1")))
    assert decide(1, champion, {"dpo": dpo, "kto": kto}, TABLE, case.config, 0) == case.decide()


def test_the_random_tables_reach_every_way_to_decide() -> None:
    """The properties above would hold of a rule that never chose anybody."""
    rng = np.random.default_rng(3)
    found = set()
    for seed in range(40):
        first, second, third = rng.random(3)
        case = Case(seed, (first, second, third), 0.0, (10, 10, 15), (0.1, 0.3, 0.6)[seed % 3], 0.1, 0.0)
        decision = case.decide()
        found.add((decision.reason, decision.publish))
    reasons = {reason for reason, _ in found}
    assert reasons >= {"better", "not_better", "outside_gate", "gate_restored"}
    assert {("better", True), ("better", False)} <= found
