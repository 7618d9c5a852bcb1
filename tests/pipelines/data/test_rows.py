"""Bad files: each is refused in one sentence that names file, line and cure."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actors.errors import SalusError
from pipelines.data.rows import data_files, rows_of


def _file(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def _refusal(path: Path, *required: str) -> str:
    with pytest.raises(SalusError) as caught:
        list(rows_of(path, required))
    assert "\n" not in caught.value.sentence
    assert str(path) in caught.value.sentence
    return caught.value.sentence


def test_csv_rows_know_the_line_they_begin_on(tmp_path: Path) -> None:
    path = _file(tmp_path, "a.csv", '\ufeffprompt,level\n"two\nlines",1\n"a ""quoted"" one",2\r\nlast,3\n\n')
    rows = list(rows_of(path, ("prompt", "level")))
    assert [(row.line, row.values["prompt"]) for row in rows] == [
        (2, "two\nlines"),
        (4, 'a "quoted" one'),
        (5, "last"),
    ]


def test_missing_and_empty_files_are_named(tmp_path: Path) -> None:
    assert "does not exist" in _refusal(tmp_path / "none.csv", "prompt")
    assert "is empty" in _refusal(_file(tmp_path, "e.csv", ""), "prompt")
    assert "no data rows" in _refusal(_file(tmp_path, "h.csv", "prompt\n"), "prompt")
    assert "no data rows" in _refusal(_file(tmp_path, "b.jsonl", "\n\n"), "prompt")
    assert "not one of" in _refusal(_file(tmp_path, "x.txt", "hello"), "prompt")


def test_a_missing_column_names_the_nearest(tmp_path: Path) -> None:
    sentence = _refusal(_file(tmp_path, "a.csv", "id,Promt,level\n1,x,2\n"), "prompt")
    assert "no column 'prompt'" in sentence
    assert "'Promt'" in sentence
    sentence = _refusal(_file(tmp_path, "a.jsonl", '{"prompt": "x"}\n{"prompts": "y"}\n'), "prompt")
    assert "line 2" in sentence
    assert "'prompts'" in sentence


def test_bad_quotes_name_the_line_the_record_begins_on(tmp_path: Path) -> None:
    assert "line 3" in _refusal(_file(tmp_path, "a.csv", 'prompt,n\nfine,1\n"never closed,2\nmore,3\n'), "prompt")
    assert "line 2" in _refusal(_file(tmp_path, "b.csv", 'prompt,n\n"a" b,1\n'), "prompt")


def test_too_many_and_too_few_fields(tmp_path: Path) -> None:
    assert "line 2: 3 fields" in _refusal(_file(tmp_path, "a.csv", "prompt,n\na,b,1\n"), "prompt")
    assert "line 3: 1 fields" in _refusal(_file(tmp_path, "b.csv", "prompt,n\na,1\nb\n"), "prompt")


def test_an_empty_row_inside_is_refused(tmp_path: Path) -> None:
    assert "line 3: the row is empty" in _refusal(_file(tmp_path, "a.csv", "prompt\na\n\nb\n"), "prompt")
    jsonl = _file(tmp_path, "a.jsonl", '{"prompt": "a"}\n \n{"prompt": "b"}\n')
    assert "line 2: the row is empty" in _refusal(jsonl, "prompt")


def test_bad_json_names_line_and_column(tmp_path: Path) -> None:
    sentence = _refusal(_file(tmp_path, "a.jsonl", '{"prompt": "a"}\n{"prompt": "b"\n'), "prompt")
    assert "line 2" in sentence
    assert "column" in sentence
    assert "a list where" in _refusal(_file(tmp_path, "b.jsonl", '["a"]\n'), "prompt")


def test_another_encoding_names_the_line(tmp_path: Path) -> None:
    latin = _file(tmp_path, "a.csv", "prompt\nfine\nna\u00efve\n".encode("latin-1"))
    assert "line 3: not UTF-8" in _refusal(latin, "prompt")
    assert "line 1: not UTF-8" in _refusal(_file(tmp_path, "b.jsonl", "{}".encode("utf-16")), "prompt")


def test_parquet_rows_and_a_broken_parquet(tmp_path: Path) -> None:
    good = tmp_path / "a.parquet"
    pq.write_table(pa.table({"prompt": ["a", "b"]}), good)
    assert [(row.line, row.unit) for row in rows_of(good, ("prompt",))] == [(1, "row"), (2, "row")]
    assert "'prompt'" in _refusal(good, "promt")
    assert "not a readable Parquet" in _refusal(_file(tmp_path, "b.parquet", b"PAR1 nothing"), "prompt")
    cut = _file(tmp_path, "c.parquet", good.read_bytes()[:-9])
    assert "not a readable Parquet" in _refusal(cut, "prompt")


def test_a_folder_without_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SalusError, match="holds no"):
        data_files(tmp_path)
    with pytest.raises(SalusError, match="does not exist"):
        data_files(tmp_path / "none")
    _file(tmp_path, "b.csv", "x")
    _file(tmp_path, "a.jsonl", "x")
    _file(tmp_path, ".hidden.csv", "x")
    assert [p.name for p in data_files(tmp_path)] == ["a.jsonl", "b.csv"]
