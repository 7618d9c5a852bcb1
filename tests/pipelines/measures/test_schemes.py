"""Inference schemes: what is asked, what a judge sees, one answer out of several, and examples that are near."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from actors.contract.conversation import Turn, context_of, turns_of
from actors.contract.records import PROMPT_SCHEMA, ROLLOUT_SCHEMA, Label, prompt_table
from actors.files.shards import strings
from pipelines.config.model import SchemeConfig
from pipelines.config.scores import ScoreTable
from pipelines.measures.metrics import measure
from pipelines.measures.schemes import (
    SchemeFigures,
    as_asked,
    as_they_were,
    good_examples,
    voted,
    written_tokens,
)
from tests.rows import judgments, prompt

BEFORE = (
    Turn(role="system", content="Be brief."),
    Turn(role="user", content="Hi"),
    Turn(role="assistant", content="Yes?"),
)
CONTEXT = context_of((*BEFORE, Turn(role="user", content="?")))
PROMPTS = prompt_table([prompt(0, text="first"), prompt(1, 3, text="second").model_copy(update={"context": CONTEXT})])
EXAMPLES = [("far", "no"), ("near", "yes"), ("nearer", "yes!")]


def test_each_part_of_a_scheme_changes_what_is_asked() -> None:
    scheme = SchemeConfig(system_prompt="Refuse harm.", suffix="Think {first}.", few_shot=2)
    asked = as_asked(PROMPTS, scheme, EXAMPLES, np.array([[0.1, 0.5, 0.9], [0.9, 0.5, 0.1]]))
    assert asked.schema == PROMPT_SCHEMA
    assert strings(asked, "prompt") == ["first\n\nThink {first}.", "second\n\nThink {first}."]
    first, second = (turns_of(context) for context in strings(asked, "context"))
    # The nearest example is next to the request.
    assert [turn.content for turn in first] == ["Refuse harm.", "near", "yes", "nearer", "yes!"]
    assert [turn.content for turn in second] == ["Refuse harm.", "near", "yes", "far", "no", "Hi", "Yes?"]
    assert as_asked(PROMPTS, SchemeConfig(samples=3)).equals(PROMPTS)
    kept = turns_of(strings(as_asked(PROMPTS, SchemeConfig(suffix="!")), "context")[1])
    assert kept == BEFORE


def test_a_judge_sees_the_requests_themselves() -> None:
    asked = as_asked(PROMPTS, SchemeConfig(system_prompt="Refuse harm.", suffix="Think."))
    answers = judgments([(prompt(1, 3), "No.", None), (prompt(0), "Yes.", None)]).select(ROLLOUT_SCHEMA.names)
    changed = answers.set_column(1, answers.schema.field("prompt"), [strings(asked, "prompt")])
    back = as_they_were(changed, PROMPTS)
    assert strings(back, "prompt") == ["second", "first"] and back["context"].to_pylist() == [CONTEXT, None]
    assert back["answer"].equals(answers["answer"]) and back.schema == ROLLOUT_SCHEMA


def test_the_first_answer_of_most_votes_is_taken_and_stricter_of_equals() -> None:
    said: list[tuple[int, str, Label | None]] = [
        (0, "a", "Accept"), (0, "b", "Refuse"), (0, "c", "Refuse"),
        (1, "d", "Accept"), (1, "e", "Caution"),
        (2, "f", None), (2, "g", None),
        (3, "h", None), (3, "i", "Accept"),
    ]  # fmt: skip
    table = judgments([(prompt(number), answer, label) for number, answer, label in said])
    assert strings(voted(table), "answer") == ["b", "e", "f", "i"]
    # "a" to "i" are a token each.
    assert written_tokens(table) == pytest.approx(9 / 4) and written_tokens(table.slice(0, 0)) == 0


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["Accept", "Caution", "Refuse", None])), max_size=20))
def test_every_prompt_has_one_answer_with_a_label_of_most(said: list[tuple[int, Label | None]]) -> None:
    chosen = voted(judgments([(prompt(number), "x", label) for number, label in said]))
    assert len(set(strings(chosen, "prompt_id"))) == chosen.num_rows == len({number for number, _ in said})
    labels: list[Any] = chosen["label"].to_pylist()
    for name, label in zip(strings(chosen, "prompt_id"), labels, strict=True):
        votes = Counter(of for number, of in said if of is not None and f"p{number:04d}" == name)
        assert votes[label] == max(votes.values(), default=0)


def test_examples_are_good_answers_else_safe_references() -> None:
    best = {0: ["Accept"], 1: ["Refuse"], 2: ["Refuse"], 3: ["Refuse"]}
    table = judgments(
        [
            (prompt(0), "Bad.", "Refuse"), (prompt(0), "Good.", "Accept"), (prompt(0), "Later.", "Accept"),
            (prompt(1, 3, reference="No."), "Sure.", "Accept"), (prompt(2, 3), "Sure.", "Accept"),
        ]
    )  # fmt: skip
    assert good_examples(table, best) == [("request number 0", "Good."), ("request number 1", "No.")]


def test_a_scheme_changes_something_and_its_figures_are_kept() -> None:
    with pytest.raises(ValidationError, match="it changes nothing"):
        SchemeConfig()
    metrics = measure(judgments([(prompt(0), "x", "Accept")]), ScoreTable(), 0, 50)
    figures = SchemeFigures.of("votes", "c0-base", metrics, 12.0, 30.0)
    assert SchemeFigures.model_validate_json(figures.model_dump_json()) == figures and figures.n == 1
