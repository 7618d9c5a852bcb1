"""Texts of clients and models are read in a time that grows with their length alone, whatever they repeat."""

from __future__ import annotations

import re
from collections.abc import Callable
from types import ModuleType

import pytest

from actors.contract import untrusted
from actors.contract.untrusted import ChatMarkup, strip_invisible
from actors.judges import rules as refusal_rules
from actors.judges import template as judge_template
from actors.judges.rules import refusal_label
from actors.judges.template import fence_of
from actors.serve.gateway import caller
from actors.serve.guard import rules as guard_rules
from actors.serve.guard.rules import PhraseScreen
from actors.serve.router import routes
from pipelines.data.clinic import truth
from pipelines.data.medsafety import sentences
from pipelines.feedback.evaluated import EvaluatedPrompts
from pipelines.report import markdown
from tests.linear_time import LONG, MOST_S, assert_linear, runs, slow_texts

REFUSAL = "I cannot help with that.\n"


def patterns(module: ModuleType) -> list[re.Pattern[str]]:
    """Every pattern that a module keeps, also in a table."""
    held = [value for name, value in vars(module).items() if not name.startswith("__")]
    inner = [part for value in held if isinstance(value, dict | tuple) for part in _parts(value)]
    return [found for found in (*held, *inner) if isinstance(found, re.Pattern)]


def _parts(value: object) -> list[object]:
    if isinstance(value, dict):
        return list(value.values())
    return [part for row in value for part in (row if isinstance(row, tuple) else (row,))]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "pattern",
    [
        p
        for module in (refusal_rules, untrusted, truth, sentences, guard_rules, judge_template)
        for p in patterns(module)
    ],
    ids=lambda pattern: pattern.pattern[:40],
)
def test_no_pattern_is_slow_on_long_texts_of_its_own_words_and_signs(pattern: re.Pattern[str]) -> None:
    assert_linear(pattern.search, pattern)


READERS: dict[str, tuple[ModuleType, Callable[[str], object]]] = {
    "a refusal": (refusal_rules, lambda text: refusal_label(f"{REFUSAL}{text}x")),
    "markup": (untrusted, lambda text: ChatMarkup().broken(strip_invisible(text))),
    "a guard's phrases": (guard_rules, PhraseScreen(["how to make", "a a b"]).holds),
    "a path": (caller, caller.find_route),
    "an answer's id": (routes, routes.model_of_answer),
    "a model card": (markdown, markdown.plain),
    "a fence": (judge_template, lambda text: fence_of(text, text)),
    "prompts a run is measured on": (
        guard_rules,
        EvaluatedPrompts(["how do i take it every day", "a a a a a a b"]).holds,
    ),
}


@pytest.mark.parametrize("name", READERS)
def test_no_reader_is_slow(name: str) -> None:
    module, read = READERS[name]
    assert slow_texts(read, runs(patterns(module)[0], LONG), 5 * MOST_S) == []
