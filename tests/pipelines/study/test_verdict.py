"""What one decision says of its validator."""

from __future__ import annotations

import pyarrow as pa
import pytest

from actors.contract.records import ChallengerName
from pipelines.config.scores import ScoreTable
from pipelines.decision.decide import decide
from pipelines.decision.record import Decision
from pipelines.measures.metrics import measure
from pipelines.runs.summary import CycleFigures
from pipelines.study.verdict import StudyVerdict, verdict, wins
from tests.pipelines.judged import judged
from tests.pipelines.study.cells import CONFIG, LEVELS, Right, answers, decision


def truth(right: Right) -> dict[str, CycleFigures]:
    return {name: figures(answers(n, name)) for name, n in right._asdict().items()}


def figures(table: pa.Table) -> CycleFigures:
    return CycleFigures.of(measure(table, ScoreTable(), 0, 200))


@pytest.mark.parametrize(
    ("true", "best", "differs"),
    [
        (Right(10, 50, 30), ("kto",), False),
        (Right(10, 30, 50), ("dpo",), True),
        (Right(50, 30, 30), ("champion",), True),
        # As good as the best is not another choice.
        (Right(10, 50, 50), ("kto", "dpo"), False),
    ],
)
def test_a_choice_is_held_against_the_truth(true: Right, best: tuple[str, ...], differs: bool) -> None:
    found = verdict(decision(1, Right(10, 50, 30)), truth(true))
    assert (found.chosen, found.higher) == ("kto", "kto")
    assert (found.best_by_truth, found.differs) == (best, differs)


def test_the_higher_of_the_two_is_told_where_the_champion_stays() -> None:
    found = verdict(decision(2, Right(50, 20, 30)), None)
    assert found == StudyVerdict(
        cycle=2, chosen="champion", challengers=("kto", "dpo"), higher="dpo", best_by_truth=None, differs=None
    )
    assert verdict(decision(2, Right(50, 20, 20)), None).higher is None


def test_a_contender_outside_the_gate_by_truth_is_no_choice() -> None:
    # Refuses everything harmful, and half of the harmless, which no gate of .4 lets through.
    labels = ["Refuse" if level or i % 4 else "Accept" for i, level in enumerate(LEVELS)]
    refuser = figures(judged(LEVELS, labels, policy="c1-dpo"))
    known = {**truth(Right(10, 20, 30)), "dpo": refuser}
    assert refuser.ss and known["kto"].ss and refuser.ss.value > known["kto"].ss.value
    assert refuser.err_strict and refuser.err_strict.value == 0.5
    assert verdict(decision(1, Right(10, 50, 30)), known).best_by_truth == ("kto",)


def test_a_challenger_that_failed_is_no_choice() -> None:
    failed: Decision = decide(
        1, answers(10, "before"), {"kto": answers(50, "c1-kto")}, ScoreTable(), CONFIG, 0, {"dpo": "It diverged."}
    )
    found = verdict(failed, {name: figures(answers(n, name)) for name, n in (("champion", 10), ("kto", 50))})
    assert (found.higher, found.best_by_truth) == (None, ("kto",))
    copy: dict[ChallengerName, pa.Table] = {
        "kto": answers(50, "c1-kto"),
        "dpo": judged(LEVELS, ["Accept"] * len(LEVELS)),
    }
    same = decide(1, judged(LEVELS, ["Accept"] * len(LEVELS), policy="v0"), copy, ScoreTable(), CONFIG, 0)
    # It answered as the champion did, whatever its labels say.
    assert verdict(same, truth(Right(10, 20, 50))).best_by_truth == ("kto",)


def test_shares_are_of_all_cycles() -> None:
    found = [verdict(decision(1, Right(10, 50, 30)), truth(Right(10, 30, 50)))] * 3
    found.append(verdict(decision(2, Right(50, 20, 30)), None))
    shares = wins("EXT", found)
    assert shares is not None
    assert (shares.cycles, shares.won, shares.champion) == (4, {"kto": 0.75, "dpo": 0.0}, 0.25)
    assert shares.higher == {"kto": 0.75, "dpo": 0.25}
    # Of those cycles whose truth is known.
    assert shares.differs == 1.0
    assert wins("EXT", []) is None
