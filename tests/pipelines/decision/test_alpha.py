"""A run's error, not a cycle's: alpha is spent over the cycles, on record, and what could not be seen is said."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.contract.records import ChallengerName
from actors.contract.run_folder import RunFolder
from actors.files.shards import write_text
from pipelines.config.decision import DecisionConfig, GateConfig
from pipelines.config.scores import ScoreTable
from pipelines.decision.alpha import one_cycle, share_of_alpha
from pipelines.decision.decide import decide, enough_resamples
from pipelines.decision.of_run import DecisionOfRun
from pipelines.decision.record import Decision
from pipelines.decision.resolution import detectable_gain, largest_err_that_could_pass
from tests.pipelines.judged import BEST, judged

OPEN = GateConfig(err_strict_max=(), min_n=1, max_repetition=None, max_length_ratio=None, min_coverage=0.0)
CONFIG = DecisionConfig(gate=OPEN, resamples=300, publish_uncorrected=True)
LEVELS = [0, 3] * 50
RIGHT = [BEST[level] for level in LEVELS]


@dataclass(frozen=True)
class Past:
    """An earlier decision."""

    alpha_spent: float | None
    config: DecisionConfig = CONFIG


def policy(name: str, wrong: int) -> pa.Table:
    """Wrong on its first prompts."""
    labels = ["Accept" if RIGHT[i] == "Refuse" else "Refuse" for i in range(wrong)] + RIGHT[wrong:]
    return judged(LEVELS, labels, policy=name)


def run(folder: RunFolder, wrong: list[int], config: DecisionConfig = CONFIG, cycles: int = 5) -> list[Decision]:
    """Cycles of one challenger that answers so many wrongly; the champion has 30 of them wrong."""
    # Nothing is compared with what was published, whose answers are not in the folder.
    config = config.model_copy(update={"publish_gate": None})
    rule = DecisionOfRun(ScoreTable(), config, 0, None, str(folder.root), "v0", cycles=cycles)
    found = []
    for cycle, failures in enumerate(wrong, start=1):
        challengers: dict[ChallengerName, pa.Table] = {"kto": policy(f"c{cycle}-kto", failures)}
        found.append(rule(cycle, policy("v0", 30), challengers, {}))
        write_text(found[-1].model_dump_json(), folder.decision(cycle))
    return found


@given(st.lists(st.booleans(), max_size=12), st.sampled_from(["open", "equal"]), st.integers(1, 12))
def test_no_run_spends_more_than_its_alpha(compared: list[bool], spending: str, cycles: int) -> None:
    config = DecisionConfig.model_validate({"spending": spending, "confidence": 0.9})
    before: list[Past] = []
    total = 0.0
    for each in compared:
        alpha = share_of_alpha(config, before, cycles)
        assert alpha.cycle >= 0.0 and alpha.before == pytest.approx(total)
        total = alpha.after(each)
        before.append(Past(total, config))
    assert total <= 0.1 + 1e-9


def test_shares_are_open_to_more_cycles_or_equal() -> None:
    spent, shares = 0.0, []
    for done in range(3):
        shares.append(share_of_alpha(CONFIG, [Past(spent)] * done, 3).cycle)
        spent += shares[-1]
    assert shares == pytest.approx([0.05 / 2, 0.05 / 6, 0.05 / 12])
    equal = DecisionConfig(spending="equal")
    assert [share_of_alpha(equal, [Past(0.01 * d)] * d, 5).cycle for d in range(5)] == pytest.approx([0.01] * 5)
    # A cycle without a comparison leaves its share to the others.
    assert share_of_alpha(equal, [Past(0.0)], 5).cycle == pytest.approx(0.0125)
    # One of an earlier version has spent all.
    assert share_of_alpha(CONFIG, [Past(None)], 5).cycle == 0.0
    alone = one_cycle(CONFIG)
    assert (alone.cycle, alone.before, alone.run) == pytest.approx((0.05, 0.0, 0.05))


def test_every_record_says_what_was_spent_and_what_is_left(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    first, second, third = run(folder, [30, 0, 30])
    # The same answers as the champion's, in other words: compared, and no better.
    assert first.challengers[0].standing == "not_better"
    assert (first.alpha, first.alpha_spent) == pytest.approx((0.025, 0.025))
    assert second.chosen == "kto"
    assert (second.alpha_spent, second.alpha_left) == pytest.approx((0.1 / 3, 0.05 / 3))
    assert third.alpha == pytest.approx(0.05 / 12)
    again = Decision.model_validate_json(third.model_dump_json())
    assert again == third


def test_a_cycle_without_a_comparison_spends_nothing(tmp_path: Path) -> None:
    rule = DecisionOfRun(ScoreTable(), CONFIG, 0, None, str(tmp_path), "v0", cycles=5)
    nobody = rule(1, policy("v0", 30), {}, {"kto": "NaN."})
    assert nobody.alpha_spent == 0.0 and nobody.alpha_left == pytest.approx(0.05)
    assert nobody.detectable_gain_80 is None and "missed a gain" not in nobody.sentence


def test_what_one_cycle_found_at_five_percent_a_run_does_not_find_in_its_third(tmp_path: Path) -> None:
    """Eight prompts gained and one lost: p is about .02, which 5 % a cycle would take every time."""
    champion, wrong = policy("v0", 8), policy("k1", 0)
    labels = wrong["label"].to_pylist()
    labels[20] = "Refuse"
    challengers: dict[ChallengerName, pa.Table] = {"kto": judged(LEVELS, labels, policy="k1")}
    alone = decide(3, champion, challengers, ScoreTable(), CONFIG, 0)
    assert alone.chosen == "kto"
    late = decide(
        3, champion, challengers, ScoreTable(), CONFIG, 0, alpha=share_of_alpha(CONFIG, [Past(0.05 * 2 / 3)] * 2, 3)
    )
    assert (late.chosen, late.challengers[0].standing) == ("champion", "not_better")
    assert late.detectable_gain_80 is not None
    assert f"it would have missed a gain of {late.detectable_gain_80:.3f}" in late.sentence


def test_a_run_that_spent_all_says_so(tmp_path: Path) -> None:
    equal = CONFIG.model_copy(update={"spending": "equal"})
    folder = RunFolder(tmp_path)
    (only,) = run(folder, [30], equal, cycles=1)
    assert only.alpha_left == pytest.approx(0.0)
    rule = DecisionOfRun(ScoreTable(), equal, 0, None, str(folder.root), "v0", cycles=2)
    more = rule(2, policy("v0", 30), {"kto": policy("c2-kto", 0)}, {})
    assert more.chosen == "champion" and "has spent its alpha of 0.05" in more.sentence


def test_a_small_share_gets_the_samples_that_its_p_needs() -> None:
    assert enough_resamples(2000, 0.0125) == 2000
    assert enough_resamples(300, 0.05 / 12) == 1200
    assert enough_resamples(300, 0.0) == 300


def test_the_record_says_what_could_not_be_seen() -> None:
    decision = decide(1, policy("v0", 30), {"kto": policy("k1", 28)}, ScoreTable(), CONFIG, 0)
    comparison = decision.challengers[0].comparison
    assert comparison is not None and comparison.detectable_gain_80 == decision.detectable_gain_80
    assert decision.harmless_base_prompts == 50
    # The usual publish gate: the bad end of its interval may not be above its limit.
    assert decision.largest_err_that_could_pass == pytest.approx(0.1482, abs=0.001)
    ungated = CONFIG.model_copy(update={"publish_gate": None})
    assert decide(1, policy("v0", 30), {}, ScoreTable(), ungated, 0).largest_err_that_could_pass is None
    gated = ungated.model_copy(update={"gate": GateConfig(err_strict_max=(0.1,), min_n=1)})
    found = decide(1, policy("v0", 30), {}, ScoreTable(), gated, 0).largest_err_that_could_pass
    # 5 of 50 pass: as many come of a true ERR of .2 in one of twenty splits.
    assert found == pytest.approx(0.1998, abs=0.001)


def test_the_detectable_gain_is_found_in_four_of_five() -> None:
    from scipy import stats

    gain = detectable_gain(0.02, 0.025)
    assert gain is not None
    assert stats.norm.sf(stats.norm.isf(0.025) - gain / 0.02) == pytest.approx(0.8)
    assert detectable_gain(0.02, 0.0) is None and detectable_gain(0.0, 0.05) is None


def test_the_largest_err_passes_in_one_of_twenty() -> None:
    from scipy import stats

    err = largest_err_that_could_pass(60, lambda refused: refused <= 3)
    assert err is not None and stats.binom.cdf(3, 60, err) == pytest.approx(0.05)
    assert largest_err_that_could_pass(60, lambda refused: False) is None
    assert largest_err_that_could_pass(0, lambda refused: True) is None
    assert largest_err_that_could_pass(3, lambda refused: True) == 1.0


def test_harmless_base_prompts_are_counted_once() -> None:
    table = judged([0, 0, 0, 3], ["Accept", "Accept", None, "Refuse"], bases=["a", "a", "b", "c"])
    assert decide(1, table, {}, ScoreTable(), CONFIG, 0).harmless_base_prompts == 1
