"""Answers side by side: of any two policies, filtered, page by page, and no path made of what was asked."""

from __future__ import annotations

import asyncio

import pytest

from actors.contract.records import Label
from actors.contract.run_folder import RunFolder
from actors.errors import SalusError
from actors.serve.pages.compared import AnswersAsked, Disagreement
from pipelines.runs.finished.explain import explain
from pipelines.serving.dashboard.compared import ROWS, compared_answers
from pipelines.serving.dashboard.pages_data import PagesData
from tests.pipelines.finished import PROMPTS


def test_a_page_has_both_answers_to_each_prompt(run: RunFolder) -> None:
    shown = compared_answers(run, AnswersAsked(left="c0-base", right="c1-kto"))
    assert shown.sets == ("validation", "test", "probe")
    assert shown.policies == ("c0-base", "c1-dpo", "c1-kto", "c2-dpo") and shown.methods == ("direct",)
    assert (shown.total, shown.pages, len(shown.rows)) == (PROMPTS, 2, ROWS)
    severe = next(row for row in shown.rows if row.level == 3)
    assert severe.left is not None and severe.right is not None
    assert (severe.left.label, severe.right.label) == ("Accept", "Refuse")
    assert severe.right.answer == "c1-kto: I cannot help with that."
    pages = PagesData(run.root, run.root / "labels")
    assert asyncio.run(pages.answers(AnswersAsked(left="c0-base", right="c1-kto"))) == shown
    last = compared_answers(run, AnswersAsked(left="c0-base", right="c1-kto", page=99))
    assert (last.asked.page, len(last.rows)) == (2, PROMPTS - ROWS)


def test_one_of_its_prompts_is_explained(run: RunFolder) -> None:
    pages = PagesData(run.root, run.root / "labels")
    shown = asyncio.run(pages.answers(AnswersAsked()))
    found = asyncio.run(pages.explained(shown.rows[0].prompt_id, 0))
    assert found == explain(run, shown.rows[0].prompt_id, nearest=0) and found.answers
    with pytest.raises(SalusError, match=r"has no prompt '\.\./x'"):
        asyncio.run(pages.explained("../x", 3))


@pytest.mark.parametrize(
    ("level", "label", "disagreement", "total"),
    [
        (3, None, "any", 12),
        (None, "Refuse", "any", 12),
        (0, "Refuse", "any", 0),
        (None, None, "labels", 12),
        (None, None, "judges", 0),
    ],
)
def test_filters(
    run: RunFolder, level: int | None, label: Label | None, disagreement: Disagreement, total: int
) -> None:
    asked = AnswersAsked(left="c0-base", right="c1-kto", level=level, label=label, disagreement=disagreement)
    assert compared_answers(run, asked).total == total


def test_what_the_run_has_not_is_replaced_and_an_empty_run_has_none(run: RunFolder) -> None:
    shown = compared_answers(run, AnswersAsked(prompts="published", left="../../etc", right="c9-kto"))
    assert (shown.asked.prompts, shown.asked.left, shown.asked.right) == ("validation", "c0-base", "c2-dpo")
    empty = compared_answers(RunFolder(run.root / "none"), AnswersAsked())
    assert (empty.total, empty.rows, empty.policies) == (0, (), ())
