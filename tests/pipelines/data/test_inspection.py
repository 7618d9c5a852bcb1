"""The description of a data set: every row counted once, repetitions and leaks found, examples cut."""

from __future__ import annotations

import statistics
from collections import Counter

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from actors.contract.records import PROMPT_SCHEMA, Prompt, prompt_table
from pipelines.data.inspection import EXAMPLE_CHARACTERS, NONE, SHOWN_LEAKS, inspect_splits, one_line
from tests.rows import prompt, prompts


def batches(rows: list[Prompt]) -> list[pa.RecordBatch]:
    return prompt_table(rows).to_batches(max_chunksize=3)


def test_every_row_is_counted_once_for_each_field() -> None:
    found = inspect_splits({"train": prompts(10).to_batches(), "test": prompts(4).to_batches(), "validation": []})
    assert found.splits == ("train", "test")
    assert found.rows == 14
    for field in ("level", "method", "principle", "style"):
        assert sum(count.rows for count in found.counts if count.field == field) == 14
    levels = {(c.value, c.split): c.rows for c in found.counts if c.field == "level"}
    assert (levels["0", "train"], levels["3", "train"], levels["0", "test"]) == (3, 2, 1)
    assert {c.value for c in found.counts if c.field == "style"} == {NONE}


@given(st.lists(st.integers(1, 400), min_size=1, max_size=50))
def test_lengths_are_quantiles_of_the_rows(sizes: list[int]) -> None:
    rows = [prompt(i, text="x" * size) for i, size in enumerate(sizes)]
    (found,) = inspect_splits({"train": batches(rows)}).lengths
    assert (found.rows, found.shortest, found.longest) == (len(sizes), min(sizes), max(sizes))
    assert found.median == statistics.median_low(sizes)
    assert found.p95 in sizes
    assert sum(size <= found.p95 for size in sizes) >= 0.95 * len(sizes)


@given(st.lists(st.sampled_from("abcdef"), max_size=20), st.lists(st.sampled_from("abcdef"), max_size=20))
def test_repetitions_are_rows_beyond_the_first(train: list[str], test: list[str]) -> None:
    splits = {
        "train": batches([prompt(i, text=text) for i, text in enumerate(train)]),
        "test": batches([prompt(100 + i, text=text) for i, text in enumerate(test)]),
    }
    found = inspect_splits(splits)
    assert found.duplicates == sum(count - 1 for count in Counter(train + test).values())
    assert found.leaked == 0


def test_a_leak_is_a_base_prompt_in_two_splits_whatever_its_case() -> None:
    rows = [prompt(i) for i in range(8)]
    moved = [row.model_copy(update={"base_prompt": row.base_prompt.upper() + " "}) for row in rows]
    found = inspect_splits({"train": batches(rows), "test": batches(moved)})
    assert found.leaked == 8
    assert len(found.leaks) == SHOWN_LEAKS
    assert found.leaks[0].splits == ("train", "test")


def test_one_short_example_of_each_level() -> None:
    rows = [prompt(i, level, text="long\n \tword " * 40) for i, level in enumerate((2, 0, 2))]
    found = inspect_splits({"train": batches(rows)})
    assert [example.level for example in found.examples] == [0, 2]
    for example in found.examples:
        assert len(example.prompt) == EXAMPLE_CHARACTERS
        assert example.prompt.startswith("long word long") and example.prompt.endswith("…")


@given(st.text(max_size=300), st.integers(2, 40))
def test_one_line_is_one_line(text: str, most: int) -> None:
    line = one_line(text, most)
    assert len(line) <= most
    assert len(line.splitlines()) <= 1


def test_nothing_gives_an_empty_description() -> None:
    empty = pa.RecordBatch.from_pylist([], PROMPT_SCHEMA)
    found = inspect_splits({"train": [empty], "test": []})
    assert (found.rows, found.counts, found.examples, found.duplicates) == (0, (), (), 0)
