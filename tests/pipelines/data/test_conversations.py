"""Prompts that are conversations: OpenAI's, TRL's and ShareGPT's forms are read, others refused with the place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actors.contract.conversation import Turn, turns_of
from actors.errors import SalusError
from pipelines.data.sets.tabular import ColumnMapping, read_tabular

SYSTEM = {"role": "system", "content": "Be brief."}
FIRST = {"role": "user", "content": "I take insulin."}
REPLY = {"role": "assistant", "content": "Noted."}
LAST = {"role": "user", "content": "How do I store it?"}
SHAREGPT = [{"from": "system", "value": "Be brief."}, {"from": "human", "value": "I take insulin."}]
SHAREGPT += [{"from": "gpt", "value": "Noted."}, {"from": "human", "value": "How do I store it?"}]
PARTS = [{"role": "user", "content": [{"type": "text", "text": "How do I"}, {"type": "text", "text": "store it?"}]}]


def read(folder: Path, *prompts: Any, column: str = "prompt", **mapping: Any) -> list[dict[str, Any]]:
    file = folder / "prompts.jsonl"
    file.write_text("".join(json.dumps({column: prompt, "level": 0, "good": [REPLY]}) + "\n" for prompt in prompts))
    columns = ColumnMapping.model_validate({"prompt": column, "level": "level"} | mapping)
    return [row for batch in read_tabular(file, columns) for row in batch.to_pylist()]


@pytest.mark.parametrize("column", ["prompt", "messages", "conversations"])
@pytest.mark.parametrize("form", [[SYSTEM, FIRST, REPLY, LAST], SHAREGPT, json.dumps([SYSTEM, FIRST, REPLY, LAST])])
def test_a_conversation_is_read_in_each_form(form: Any, column: str, tmp_path: Path) -> None:
    (row,) = read(tmp_path, form, column=column)
    assert row["prompt"] == "How do I store it?"
    before = [Turn(role=m["role"], content=m["content"]) for m in (SYSTEM, FIRST, REPLY)]
    assert list(turns_of(row["context"])) == before
    # Variants of a conversation share its first question.
    assert row["base_prompt"] == "I take insulin."


def test_one_message_is_a_prompt_like_a_text(tmp_path: Path) -> None:
    as_text, as_message = read(tmp_path, "How?", [{"role": "user", "content": "How?"}])
    assert as_text["context"] is None
    assert as_message["prompt_id"] == f"{as_text['prompt_id']}-2"


def test_other_turns_make_another_prompt(tmp_path: Path) -> None:
    alone, before = read(tmp_path, [LAST], [FIRST, REPLY, LAST])
    assert alone["prompt_id"] != before["prompt_id"].split("-")[0]


def test_answers_behind_the_question_are_left_out_and_parts_are_one_text(tmp_path: Path) -> None:
    assert read(tmp_path, [LAST, REPLY])[0]["prompt"] == "How do I store it?"
    assert read(tmp_path, PARTS)[0]["prompt"] == "How do I\nstore it?"
    assert read(tmp_path, [LAST], reference="good")[0]["reference"] == "Noted."


def test_parquet_lists_are_read(tmp_path: Path) -> None:
    file = tmp_path / "list.parquet"
    pq.write_table(pa.table({"prompt": [[FIRST, REPLY, LAST]], "level": [0]}), file)
    (batch,) = read_tabular(file, ColumnMapping(level="level"))
    assert batch.column("prompt").to_pylist() == ["How do I store it?"]


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ([], "no user message"),
        ([REPLY], "no user message"),
        ([{"role": "tool", "content": "x"}], "role 'tool'"),
        ([FIRST, SYSTEM, LAST], "system message that is not the first"),
        (["How?"], "str where a message"),
        ([{"role": "user", "content": ""}], "is empty"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], "more than text"),
        ([{"role": "user"}], "missing where text is expected"),
    ],
)
def test_a_bad_conversation_is_refused_with_its_place(form: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(SalusError, match=said) as refused:
        read(tmp_path, [LAST], form)
    assert "line 2" in refused.value.sentence
