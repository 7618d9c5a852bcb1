"""JSON arrays item by item: the same items as a whole parse, each with its line; faults name theirs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.errors import SalusError
from pipelines.data.rows import array_items, data_files, rows_of

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@given(st.lists(values, max_size=6), st.sampled_from([None, 0, 2]))
def test_items_are_those_of_a_whole_parse(items: list[object], indent: int | None) -> None:
    found = list(array_items(json.dumps(items, indent=indent), "f"))
    assert [value for _, value in found] == items
    if indent is not None and items:
        assert found[0][0] == 2
        assert [line for line, _ in found] == sorted(line for line, _ in found)


def test_each_item_has_the_line_it_begins_on() -> None:
    text = '\n[\n {"a": 1},\n {"a":\n  2}, {"a": 3},\n\n {"a": 4}]\n'
    assert [line for line, _ in array_items(text, "f")] == [3, 4, 5, 7]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"a": 1}', "f, line 1: there is no JSON array"),
        ('[\n{"a": 1},\n{"a": }]', "f, line 3: not valid JSON"),
        ('[\n{"a": 1}\n{"a": 2}]', "f, line 3: ',' or ']' is missing"),
        ('[{"a": 1}', "f, line 1: ',' or ']' is missing"),
        ('[{"a": 1},\n]', "f, line 2: not valid JSON"),
        ("[\n1]\n\n]", "f, line 4: there is more after the array"),
        ("[", "f, line 1: not valid JSON"),
    ],
)
def test_faults_name_the_line(text: str, says: str) -> None:
    with pytest.raises(SalusError) as caught:
        list(array_items(text, "f"))
    assert says in caught.value.sentence
    assert "\n" not in caught.value.sentence


def test_a_json_file_holds_an_array_or_one_object_a_line(tmp_path: Path) -> None:
    array, lines = tmp_path / "a.json", tmp_path / "b.json"
    array.write_text('\ufeff[{"q": "one"},\n{"q": "two"}]', encoding="utf-8")
    lines.write_text('{"q": "one"}\n{"q": "two"}\n', encoding="utf-8")
    for path in (array, lines):
        assert [(row.line, row.values["q"]) for row in rows_of(path, ("q",))] == [(1, "one"), (2, "two")]
    array.write_text('[{"q": "one"},\n"two"]')
    with pytest.raises(SalusError, match="line 2: a str where an object"):
        list(rows_of(array, ("q",)))
    array.write_text('[{"q": "one"},\n{"Q": "two"}]')
    with pytest.raises(SalusError, match="line 2: there is no column 'q'"):
        list(rows_of(array, ("q",)))
    # In a folder a .json file may be a description of the data, so it is not taken for data.
    with pytest.raises(SalusError, match="holds no"):
        data_files(tmp_path)
