"""Questions with reference answers, from every file format; bad rows name file and line."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from actors.errors import SalusError
from pipelines.data.sets.references import Reference, read_references

ROWS = [{"question": f"Which gland is {i}?", "answer": f"Gland {i}.", "more": "x"} for i in range(2)]
EXPECTED = [Reference(question=row["question"], answer=row["answer"]) for row in ROWS]


def test_jsonl_and_csv(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    with (tmp_path / "b.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(ROWS[0]))
        writer.writeheader()
        writer.writerows(ROWS)
    assert list(read_references(tmp_path / "a.jsonl")) == EXPECTED
    assert list(read_references(tmp_path)) == EXPECTED * 2


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"question": "q", "answer": " "}, "line 1: 'answer' is empty"),
        ({"question": "q", "reply": "a"}, "no column 'answer', the nearest one there is 'reply'"),
    ],
)
def test_a_bad_row_names_file_and_line(tmp_path: Path, row: dict[str, str], words: str) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    with pytest.raises(SalusError, match=words):
        list(read_references(tmp_path / "a.jsonl"))
