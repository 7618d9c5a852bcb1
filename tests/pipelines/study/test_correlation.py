"""Rank correlation of closed and open figures: by hand, over a study's runs, and over harness figures on disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.contract.records import Interval
from actors.errors import SalusError
from actors.files.shards import write_text
from pipelines.measures.capability.figures import Capability, Perplexity
from pipelines.measures.capability.harness_tasks import HarnessFigures
from pipelines.measures.multiple_choice import MultipleChoice
from pipelines.runs.summary import WhatIsKept
from pipelines.study.correlation import MeasuredPolicy, policies_of_harness, rank_correlations
from pipelines.study.fleet.together import SharedCost
from pipelines.study.results import StudyReport, study_report
from pipelines.study.tables import correlations_grid
from tests.pipelines.study.cells import cells, complete, study


def policies(closed: list[float], opened: list[float]) -> list[MeasuredPolicy]:
    return [
        MeasuredPolicy(policy=str(i), closed={"acc": a}, open={"rouge": b})
        for i, (a, b) in enumerate(zip(closed, opened, strict=True))
    ]


def test_counted_by_hand() -> None:
    # Ranks 1 2 3 4 against 1 3 2 4: rho = 1 - 6 * 2 / (4 * 15), and 5 of 6 pairs agree.
    (found,) = rank_correlations(policies([0.1, 0.2, 0.3, 0.4], [1, 3, 2, 4]), 0)
    assert (found.closed, found.open, found.n) == ("acc", "rouge", 4)
    assert found.spearman.value == pytest.approx(0.8) and found.kendall.value == pytest.approx(4 / 6)
    # Of the 24 pairings, 4 have a rho of .8 or more, and 4 of -.8 or less.
    assert found.spearman.p == pytest.approx(8 / 24)


def test_all_alike_and_all_reversed() -> None:
    for opened, value in (([1.0, 2.0, 3.0, 4.0, 5.0], 1.0), ([5.0, 4.0, 3.0, 2.0, 1.0], -1.0)):
        (found,) = rank_correlations(policies([1, 2, 3, 4, 5], opened), 0)
        assert found.spearman.value == pytest.approx(value) and found.kendall.value == pytest.approx(value)
        assert found.spearman.p == pytest.approx(2 / 120)
        assert found.kendall.p == pytest.approx(2 / 120)


def test_too_few_policies_and_figures_without_ranks_have_no_row() -> None:
    assert rank_correlations(policies([1, 2], [1, 2]), 0) == ()
    assert rank_correlations(policies([1, 1, 1], [1, 2, 3]), 0) == ()
    apart = [*policies([1, 2], [1, 2]), MeasuredPolicy(policy="x", closed={"acc": 3}, open={})]
    assert rank_correlations(apart, 0) == ()


def capability(policy: str, accuracy: float, perplexity: float) -> Capability:
    def figure(value: float) -> Interval:
        return Interval(value=value, low=value, high=value, n=9)

    choices = MultipleChoice(accuracy=figure(accuracy), chance=0.25, n=9, ties=0, normalised_by=None)
    return Capability(policy=policy, choices=choices, perplexity=Perplexity(per_token=figure(perplexity), tokens=90))


@pytest.fixture
def report(tmp_path: Path) -> StudyReport:
    """Two models under two regimens: two deployed models and four champions, and the more accurate the more fluent."""
    config = study("SELF", "EXT")
    made = cells(config, tmp_path)
    for number, cell in enumerate(made):
        base = capability("base", *((0.2, 9.0) if cell.model == "wide" else (0.3, 8.0)))
        kept = WhatIsKept(base=base, champion=capability("c2-kto", 0.4 + number / 10, 7.0 - number))
        summary = complete(cell).model_copy(update={"capability": kept})
        write_text(summary.model_dump_json(), cell.run.summary)
    for name, accuracy, rouge in (("a", 0.2, 0.5), ("b", 0.3, 0.4), ("c", 0.4, 0.3)):
        found = HarnessFigures(
            lm_eval="0",
            limit=None,
            chat=False,
            tasks={"careqa_en": {"acc,none": accuracy, "acc_stderr,none": 0.1}, "careqa_open": {"rougeL,none": rouge}},
        )
        write_text(found.model_dump_json(), tmp_path / "harness" / name / "capability.json")
    return study_report(config, made, {}, SharedCost(), tmp_path / "harness")


def test_a_study_says_it_over_its_policies(report: StudyReport) -> None:
    of_runs, of_harness = report.correlations
    # A deployed model counts once, however many runs began with it.
    assert (of_runs.closed, of_runs.n) == ("multiple choice", 6)
    assert of_runs.spearman.value == pytest.approx(1.0) and of_runs.kendall.value == pytest.approx(1.0)
    assert (of_harness.closed, of_harness.open, of_harness.n) == ("careqa_en", "careqa_open rougeL", 3)
    assert of_harness.spearman.value == pytest.approx(-1.0)
    first, second = correlations_grid(report).rows
    assert first[2] == "1.00\np 0.003" and first[-1] == "6" and second[2].startswith("-1.00\np 0.333")
    assert StudyReport.model_validate_json(report.model_dump_json()) == report


def test_damaged_figures_are_named(tmp_path: Path) -> None:
    write_text("{}", tmp_path / "a" / "capability.json")
    with pytest.raises(SalusError, match=r"is not figures of harness tasks .*; measure it again with --tasks"):
        policies_of_harness(tmp_path)
    assert policies_of_harness(tmp_path / "nowhere") == ()
