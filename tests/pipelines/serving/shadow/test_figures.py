"""The figures by hand: shares, paired differences, whole conversations, signs of decay."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from actors.contract.conversation import Turn
from actors.contract.records import LABELS
from pipelines.serving.shadow.figures import ShadowComparison, compare, mean_over_conversations
from pipelines.serving.shadow.judgments import judge_records, read_records
from tests.pipelines.judges.test_calibrate import in_process, recipe
from tests.pipelines.serving.shadow.recorded import SAYS, kept, labelled, record


def compared(folder: Path) -> list[ShadowComparison]:
    records = read_records(folder)
    return compare(records, judge_records(recipe(), records, folder, None, in_process()), seed=7)


def test_shares_differences_and_disagreements(tmp_path: Path) -> None:
    pairs = [("Accept", "Accept")] * 3 + [("Accept", "Refuse")] * 3 + [("Refuse", "Refuse")] * 2
    (found,) = compared(kept(tmp_path, labelled(*pairs, ("Refuse", "Caution"), ("Caution", "Refuse"))))  # type: ignore[arg-type]
    live, challenger = found.sides["live"], found.sides["challenger"]
    shares = {side: [figures.shares[label] for label in LABELS] for side, figures in found.sides.items()}
    assert [share.value for share in shares["live"] if share] == pytest.approx([0.6, 0.1, 0.3])
    assert [share.value for share in shares["challenger"] if share] == pytest.approx([0.3, 0.1, 0.6])
    differences = [found.differences[label] for label in LABELS]
    assert [each.value for each in differences if each] == pytest.approx([-0.3, 0.0, 0.3])
    assert all(each is not None and each.n == 10 and each.low < each.value < each.high for each in differences)
    assert found.labels["Accept"] == {"Accept": 3, "Caution": 0, "Refuse": 3}
    assert found.labels["Refuse"] == {"Accept": 0, "Caution": 1, "Refuse": 2}
    assert (found.requests, found.paired, found.disagreements, found.same_answers) == (10, 10, 5, 5)
    assert (found.since, found.until) == ("2026-11-22T12:00:00+00:00", "2026-11-22T12:09:00+00:00")
    assert live.coverage == challenger.coverage == 1.0


def test_an_interval_is_that_of_a_share(tmp_path: Path) -> None:
    values = np.array([1.0] * 30 + [0.0] * 70)
    found = mean_over_conversations(values, np.arange(100), seed=1)
    # The 2.5 % and 97.5 % quantiles of a binomial of 100 at .3.
    assert found is not None and found.value == pytest.approx(0.3)
    assert [found.low, found.high] == pytest.approx([0.21, 0.39], abs=0.015)
    # In twenty conversations of five, each all of a kind, there are twenty witnesses.
    few = mean_over_conversations(values, np.arange(100) // 5, seed=1)
    assert few is not None and few.n == 100
    assert (few.high - few.low) == pytest.approx((found.high - found.low) * 5**0.5, rel=0.15)


def test_three_alike_are_no_certainty() -> None:
    found = mean_over_conversations(np.ones(6), np.array([0, 0, 1, 1, 2, 2]), seed=1, low=-1.0)
    # Clopper and Pearson of three of three: at least .025 ** (1 / 3) = .292 of all, here from -1 to 1.
    assert found is not None and (found.value, found.n) == (1.0, 6)
    assert found.low == pytest.approx(-1 + 2 * 0.025 ** (1 / 3)) and found.high == 1.0
    assert mean_over_conversations(np.array([]), np.array([], dtype=np.int64), seed=1) is None


def test_turns_of_one_conversation_are_one_and_are_counted(tmp_path: Path) -> None:
    first = Turn(role="user", content="How do I store  Insulin?")
    said = Turn(role="assistant", content="In the fridge.")
    records = [
        record(0, "a", "b", prompt="how do i store insulin?"),
        record(1, "a", "b", prompt="And when I travel?", before=[first, said]),
        record(2, "a", "b", before=[Turn(role="system", content="Be brief.")]),
    ]
    (found,) = compared(kept(tmp_path, records))
    assert (found.requests, found.conversations, found.several_turns, found.same_answers) == (3, 2, 2, 0)


def test_signs_of_decay(tmp_path: Path) -> None:
    again = "take one tablet now " * 3
    records = [
        record(0, SAYS["Accept"], again, finish_reason="length"),
        record(1, SAYS["Accept"], "  "),
        record(2, SAYS["Accept"], "Yes."),
        record(3, SAYS["Accept"], SAYS["Accept"]),
    ]
    (found,) = compared(kept(tmp_path, records))
    live, challenger = found.sides["live"], found.sides["challenger"]
    assert (live.repeating, live.empty, live.cut_off, live.words_mean) == (0, 0, 0, 5)
    assert (challenger.repeating, challenger.empty, challenger.cut_off) == (0.25, 0.25, 0.25)
    assert challenger.words_mean == (12 + 0 + 1 + 5) / 4


def test_each_live_policy_is_compared_by_itself_the_latest_last(tmp_path: Path) -> None:
    older = labelled(("Accept", "Refuse"), ("Accept", "Accept"), policy="z-older")
    newer = labelled(("Refuse", "Refuse"), policy="a-newer", start=10)
    found = compared(kept(tmp_path, [*newer, *older]))
    assert [(each.policy, each.requests) for each in found] == [("z-older", 2), ("a-newer", 1)]
    refusals = found[0].differences["Refuse"]
    assert refusals is not None and refusals.value == 0.5
