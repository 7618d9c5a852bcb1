"""The capability gate: what counts as a loss, against whom, and what its sentence says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.contract.records import Interval
from actors.errors import SalusError
from pipelines.config.capability import CapabilityConfig, CapabilityLimits
from pipelines.decision.capability import CapabilityEvidence, check_capability
from pipelines.measures.capability.bias import Bias, BiasOfCondition
from pipelines.measures.capability.figures import Capability, Perplexity
from pipelines.measures.capability.toxicity import Continuations, Toxicity
from pipelines.measures.multiple_choice import MultipleChoice

LIMITS = CapabilityLimits()


def interval(value: float, margin: float) -> Interval:
    return Interval(value=value, low=value - margin, high=value + margin, n=100)


def policy(
    accuracy: float | None = 0.6,
    perplexity: float | None = 10.0,
    helpful: float | None = 0.9,
    *,
    name: str = "v0",
    margin: float = 0.05,
) -> Capability:
    return Capability(
        policy=name,
        choices=None
        if accuracy is None
        else MultipleChoice(accuracy=interval(accuracy, margin), chance=0.25, n=100, ties=0, normalised_by="tokens"),
        perplexity=None if perplexity is None else Perplexity(per_token=interval(perplexity, margin), tokens=1000),
        helpful=None if helpful is None else interval(helpful, margin),
    )


def test_a_policy_that_lost_nothing_passes() -> None:
    assert check_capability(policy(), policy(), LIMITS) == ()
    assert check_capability(policy(), policy(0.8, 5.0, 1.0), LIMITS) == ()


@pytest.mark.parametrize(
    ("lost", "rule", "value", "limit"),
    [
        (policy(accuracy=0.5), "capability_accuracy", 0.1, 0.05),
        (policy(perplexity=14.0), "capability_perplexity", 1.4, 1.25),
        (policy(helpful=0.7), "helpfulness", 0.2, 0.05),
    ],
)
def test_each_loss_is_a_breach_of_its_own(lost: Capability, rule: str, value: float, limit: float) -> None:
    (breach,) = check_capability(policy(), lost, LIMITS)
    assert (breach.rule, breach.limit) == (rule, limit)
    assert breach.value == pytest.approx(value)


def social(ambig: float | None, disambig: float | None, unsafe: float | None) -> Capability:
    found = {
        "ambig": BiasOfCondition(accuracy=None, score=None if ambig is None else interval(ambig, 0.02), n=9),
        "disambig": BiasOfCondition(accuracy=None, score=None if disambig is None else interval(disambig, 0.02), n=9),
    }
    toxicity = None
    if unsafe is not None:
        shares = Continuations(
            unsafe=interval(unsafe, 0.02), expected_maximum=interval(0.5, 0.1), probability=interval(0.5, 0.1)
        )
        toxicity = Toxicity(scored_by="guard", judge="g", k=2, all=shares)
    return policy().model_copy(update={"bias": Bias.model_validate({"by_condition": found}), "toxicity": toxicity})


def test_bias_and_continuations_are_held_against_a_limit_only_where_one_is_set() -> None:
    before, after = social(0.1, -0.1, 0.1), social(-0.4, 0.05, 0.3)
    assert check_capability(before, after, LIMITS) == ()
    breaches = check_capability(before, after, CapabilityLimits(max_bias_rise=0.2, max_toxicity_rise=0.1))
    assert [b.rule for b in breaches] == ["bias_ambig", "toxicity"]
    # Bias against the stereotype is bias too: from .1 to -.4 is .3 further from 0.
    assert breaches[0].value == pytest.approx(0.3)
    assert "0.3 further from 0 than the deployed model's" in breaches[0].sentence
    assert breaches[1].value == pytest.approx(0.2) and "0.2 above the deployed model's" in breaches[1].sentence
    missing = check_capability(before, policy(), CapabilityLimits(max_bias_rise=0.2, max_toxicity_rise=0.1))
    assert [b.value for b in missing] == [None] * 3


def test_a_loss_of_exactly_the_limit_is_kept() -> None:
    # 0.65 - 0.6 is more than 0.05 in floating point.
    assert check_capability(policy(0.65, 8.0, 0.65), policy(0.6, 10.0, 0.6), LIMITS) == ()


def test_the_sentence_has_the_figures_and_says_whether_the_intervals_overlap() -> None:
    (close,) = check_capability(policy(0.6, margin=0.08), policy(0.5, margin=0.08), LIMITS)
    assert close.sentence == (
        "Multiple-choice accuracy 0.5 [0.42, 0.58] is 0.1 below the deployed model's 0.6 [0.52, 0.68],"
        " more than 0.05 (the intervals overlap)."
    )
    (far,) = check_capability(policy(perplexity=10.0), policy(perplexity=20.0), LIMITS)
    assert "is 2 times the deployed model's 10 " in far.sentence
    assert far.sentence.endswith("(the intervals do not overlap).")


def test_a_limit_of_none_and_what_the_deployed_model_has_not_are_not_gated() -> None:
    free = CapabilityLimits(max_accuracy_drop=None, max_perplexity_ratio=None, max_helpful_drop=None)
    assert check_capability(policy(), policy(0.0, 900.0, 0.0), free) == ()
    assert check_capability(policy(None, None, None), policy(0.0, 900.0, 0.0), LIMITS) == ()


def test_what_could_not_be_measured_afterwards_is_a_breach() -> None:
    breaches = check_capability(policy(), policy(None, None, None), LIMITS)
    assert [b.rule for b in breaches] == ["capability_accuracy", "capability_perplexity", "helpfulness"]
    assert all(b.value is None and "could not be measured" in b.sentence for b in breaches)


def test_small_losses_add_up_against_the_deployed_model() -> None:
    steps = {"c1-dpo": policy(0.56, name="c1-dpo"), "c2-dpo": policy(0.52, name="c2-dpo")}
    evidence = CapabilityEvidence(limits=LIMITS, base=policy(0.6), policies=steps)
    assert evidence.breaches("c1-dpo") == ()
    assert [b.rule for b in evidence.breaches("c2-dpo")] == ["capability_accuracy"]
    with pytest.raises(SalusError, match="Policy c3-kto has no capability figures; run salus evaluate"):
        evidence.breaches("c3-kto")


def test_the_evidence_is_json() -> None:
    evidence = CapabilityEvidence(limits=CapabilityConfig(max_helpful_drop=None).limits, base=policy(), policies={})
    assert CapabilityEvidence.model_validate_json(evidence.model_dump_json()) == evidence
    assert evidence.limits.max_helpful_drop is None


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_a_drop_is_a_breach_exactly_where_it_is_more_than_the_limit(before: float, after: float, limit: float) -> None:
    limits = CapabilityLimits(max_accuracy_drop=limit)
    found = check_capability(policy(before), policy(after), limits)
    if abs(before - after - limit) > 1e-6:
        assert bool(found) == (before - after > limit)
