"""The last lines of a run: the judge on every contender, the worst one named, and what was not to be seen."""

from __future__ import annotations

from pipelines.decision.record import Decision
from pipelines.report.judges.judge_check import judge_check_lines, unseen_lines
from tests.pipelines.report.test_decision_page import decided


def told(wrong: int) -> Decision:
    decision, _ = decided()
    (kto,) = decision.challengers
    assert kto.judge is not None
    worse = kto.judge.model_copy(update={"wrong": wrong, "accuracy": 1 - wrong / kto.judge.n})
    return decision.model_copy(update={"challengers": (kto.model_copy(update={"judge": worse}),)})


def test_each_contender_of_each_cycle_is_told_and_the_worst_is_named() -> None:
    first = told(0)
    n = first.challengers[0].judge.n if first.challengers[0].judge else 0
    second = told(3).model_copy(update={"cycle": 2})
    lines = list(judge_check_lines((first, second)))
    assert lines[0] == "The judge against trusted labels (clinic) of each contender's answers:"
    assert lines[1].startswith("  cycle 1: champion ") and lines[1].endswith(f"kto {n} of {n}")
    assert lines[2].endswith(f"kto {n - 3} of {n}")
    assert lines[-1].startswith(f"Worst: kto in cycle 2, {n - 3} of {n} (accuracy ")


def test_without_labels_that_is_said() -> None:
    decision, _ = decided()
    bare = decision.model_copy(
        update={
            "champion": decision.champion.model_copy(update={"judge": None}),
            "challengers": tuple(each.model_copy(update={"judge": None}) for each in decision.challengers),
        }
    )
    assert list(judge_check_lines(())) == []
    (line,) = judge_check_lines((bare,))
    assert "is not known" in line


def test_what_a_decision_could_not_have_seen_is_told() -> None:
    decision, _ = decided()
    seen = decision.model_copy(update={"detectable_gain_80": 0.05, "largest_err_that_could_pass": 0.08})
    (line,) = unseen_lines((seen,))
    assert line == (
        "In one of five cases cycle 1 misses a gain in SS of 0.050."
        " In one of twenty a policy with a true ERR of 0.080 passes its limit."
    )
    none = decision.model_copy(update={"detectable_gain_80": None, "largest_err_that_could_pass": None})
    assert list(unseen_lines((none,))) == []
