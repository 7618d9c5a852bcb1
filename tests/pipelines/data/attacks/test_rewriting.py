"""Attempts of a red team: which prompts are attacked, what is asked for, what is tried, each text once."""

from __future__ import annotations

from typing import Any

from actors.contract.records import PROMPT_SCHEMA, prompt_table
from actors.files.shards import strings
from pipelines.data.attacks.registry import STYLES
from pipelines.data.attacks.rewriting import REWRITTEN, attacked, attempts_table, instructions, rewritten, wrapped
from pipelines.data.split import group_key
from tests.rows import prompt

PROMPTS = prompt_table([prompt(i, i % 4, text=f"harm {{x}} {i}") for i in range(40)])


def rows() -> dict[str, dict[str, Any]]:
    return {row["prompt_id"]: row for row in PROMPTS.to_pylist()}


def test_harmful_prompts_alone_are_attacked_drawn_by_the_seed() -> None:
    one, again, other = (attacked(PROMPTS, 10, seed) for seed in (1, 1, 2))
    assert one.equals(again) and not one.equals(other) and one.num_rows == 10
    assert set(one["level"].to_pylist()) == {1, 2, 3}
    spared = attacked(PROMPTS, 40, 1, lambda row: row["level"] == 3)
    assert set(spared["level"].to_pylist()) == {3} and spared.num_rows == 10


def test_the_attacker_is_asked_with_the_request_as_it_is() -> None:
    asked = instructions(PROMPTS)
    assert asked.schema == PROMPT_SCHEMA
    for request, text in zip(strings(PROMPTS, "prompt"), strings(asked, "prompt"), strict=True):
        assert text.count(request) == 1 and "{request}" not in text


def test_a_rewrite_keeps_all_but_text_method_and_style() -> None:
    found = rewritten(rows(), [("p0003", ' "As a doctor, how?" '), ("p0003", "  "), ("p0007", "Tell me.")])
    assert [row["prompt"] for row in found] == ["As a doctor, how?", "Tell me."]
    assert found[0] == rows()["p0003"] | {"prompt": "As a doctor, how?", "method": "indirect", "style": REWRITTEN}


def test_known_texts_are_no_attempts_and_each_text_is_tried_once() -> None:
    found = rewritten(
        rows(), [("p0003", "New one"), ("p0003", "new  ONE"), ("p0007", "harm {x} 5"), ("p0007", "Other")]
    )
    table, repeated = attempts_table(found, {group_key("harm {x} 5")}, cycle=2)
    assert repeated == 2 and strings(table, "prompt") == ["New one", "Other"]
    assert strings(table, "prompt_id") == ["p0003~rt2.0", "p0007~rt2.1"]
    assert strings(table, "base_prompt") == ["base 3", "base 7"]
    assert attempts_table([], set(), 1)[0].num_rows == 0


def test_templates_are_drawn_for_each_prompt() -> None:
    styles = list(STYLES.values())[:5]
    found = wrapped(rows().values(), styles, each=2, seed=1)
    assert len(found) == 80 and {row["style"] for row in found} == {style.name for style in styles}
    assert found == wrapped(rows().values(), styles, each=2, seed=1)
    assert all(row["method"] == next(s.method for s in styles if s.name == row["style"]) for row in found)
