"""Multiple-choice sets in their published columns, from every file format; bad rows name file and line."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from actors.errors import SalusError
from pipelines.data.sets.choices import CHOICE_SOURCES, ChoiceQuestion, ChoiceSource, read_choices

ROWS: dict[ChoiceSource, dict[str, Any]] = {
    "careqa": {"question": "Which gland?", "op1": "a", "op2": "b", "op3": "c", "op4": "d", "cop": 3, "year": 2021},
    "medqa": {"question": "Which drug?", "options": {"A": "a", "B": "b", "C": "c"}, "answer": "b", "answer_idx": "B"},
    "pubmedqa": {
        "pubid": 1,
        "question": "Does it help?",
        "context": {"contexts": ["Aim.", "Result."], "labels": ["A", "R"]},
        "final_decision": "maybe",
    },
}
EXPECTED: dict[ChoiceSource, ChoiceQuestion] = {
    "careqa": ChoiceQuestion(question="Which gland?", options=("a", "b", "c", "d"), answer=2, source="careqa"),
    "medqa": ChoiceQuestion(question="Which drug?", options=("a", "b", "c"), answer=1, source="medqa"),
    "pubmedqa": ChoiceQuestion(
        question="Does it help?",
        options=("yes", "no", "maybe"),
        answer=2,
        context="Aim.\nResult.",
        source="pubmedqa",
    ),
}


def _write(path: Path, rows: list[dict[str, Any]]) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows), encoding="utf-8")
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    else:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows({k: json.dumps(v) if isinstance(v, dict) else v for k, v in r.items()} for r in rows)
    return path


@pytest.mark.parametrize("suffix", [".csv", ".json", ".jsonl", ".parquet"])
@pytest.mark.parametrize("source", CHOICE_SOURCES)
def test_every_source_in_every_format(tmp_path: Path, source: ChoiceSource, suffix: str) -> None:
    path = _write(tmp_path / f"test{suffix}", [ROWS[source], ROWS[source]])
    assert list(read_choices(path, source)) == [EXPECTED[source]] * 2


def test_a_folder_is_read_file_by_file(tmp_path: Path) -> None:
    for name in ("a.jsonl", "b.jsonl"):
        _write(tmp_path / name, [ROWS["careqa"]])
    assert len(list(read_choices(tmp_path, "careqa"))) == 2


def test_options_come_by_letter_and_unused_letters_of_a_parquet_file_are_left_out(tmp_path: Path) -> None:
    rows = [ROWS["medqa"] | {"options": {"B": "b", "A": "a", "C": None}}, ROWS["medqa"]]
    first, second = read_choices(_write(tmp_path / "a.parquet", rows), "medqa")
    assert (first.options, first.answer) == (("a", "b"), 1)
    assert second.options == ("a", "b", "c")


def test_a_context_may_be_a_plain_text_or_missing(tmp_path: Path) -> None:
    contexts: list[object] = [" [A title] ", None, {"contexts": []}]
    rows = [ROWS["pubmedqa"] | {"context": context} for context in contexts]
    found = read_choices(_write(tmp_path / "a.jsonl", rows), "pubmedqa")
    assert [choice.context for choice in found] == ["[A title]", None, None]


@pytest.mark.parametrize(
    ("source", "changes", "says"),
    [
        ("careqa", {"cop": 0}, "'cop' is 0 where a whole number from 1 to 4"),
        ("careqa", {"op3": ""}, "'op3' is empty"),
        ("medqa", {"options": ["a", "b"]}, "'options' is not an object"),
        ("medqa", {"options": "{bad"}, "'options' is not valid JSON"),
        ("medqa", {"options": {"A": "a"}}, "'options' needs at least two"),
        ("medqa", {"options": {"A": "a", "B": 2}}, "'options' needs at least two"),
        ("medqa", {"answer_idx": "E"}, "'answer_idx' is 'E', not one of A, B, C"),
        ("pubmedqa", {"final_decision": "perhaps"}, "'final_decision' is 'perhaps'"),
        ("pubmedqa", {"context": {"contexts": [1]}}, "'context' is neither"),
        ("pubmedqa", {"question": None}, "'question' is missing"),
    ],
)
def test_a_bad_row_names_file_and_line(
    tmp_path: Path, source: ChoiceSource, changes: dict[str, object], says: str
) -> None:
    path = _write(tmp_path / "a.jsonl", [ROWS[source], ROWS[source] | changes])
    with pytest.raises(SalusError) as caught:
        list(read_choices(path, source))
    assert f"{path}, line 2: {says}" in caught.value.sentence


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.jsonl", [ROWS["medqa"]])
    with pytest.raises(SalusError, match="line 1: there is no column 'op1'"):
        list(read_choices(path, "careqa"))


def test_an_answer_is_one_of_the_options() -> None:
    with pytest.raises(ValidationError, match="answer 2 is none of 2 options"):
        ChoiceQuestion(question="q", options=("a", "b"), answer=2, source="medqa")
