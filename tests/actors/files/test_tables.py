"""Tables on disk: nothing half-written, faults as sentences."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.contract.records import PROMPT_SCHEMA
from actors.contract.seeds import derive_seed
from actors.errors import SalusError
from actors.files.shards import read_folder, read_shard, shard_files, write_table, write_text
from tests.rows import prompts


def test_a_table_comes_back_as_written_and_leaves_no_temporary_file(tmp_path: Path) -> None:
    table = prompts(5)
    write_table(table, tmp_path / "deep" / "0.parquet")
    assert read_shard(tmp_path / "deep" / "0.parquet", PROMPT_SCHEMA).equals(table)
    assert [f.name for f in (tmp_path / "deep").iterdir()] == ["0.parquet"]
    write_text("x", tmp_path / "deep" / "note")
    assert (tmp_path / "deep" / "note").read_text() == "x"


def test_shards_are_read_in_name_order(tmp_path: Path) -> None:
    for name in ("b", "a"):
        write_table(pa.table({"x": [name]}), tmp_path / f"{name}.parquet")
    assert read_folder(tmp_path)["x"].to_pylist() == ["a", "b"]
    assert [f.stem for f in shard_files(tmp_path)] == ["a", "b"]


def test_a_column_that_older_shards_lack_is_null_there(tmp_path: Path) -> None:
    write_table(pa.table({"x": ["old"]}), tmp_path / "0.parquet")
    assert read_folder(tmp_path, ("x", "later")).column_names == ["x"]
    write_table(pa.table({"x": ["new"], "later": [1], "other": [2]}), tmp_path / "1.parquet")
    assert read_folder(tmp_path, ("later", "x")).select(["x", "later"]).to_pydict() == {
        "x": ["old", "new"],
        "later": [None, 1],
    }


def test_faults_are_sentences(tmp_path: Path) -> None:
    with pytest.raises(SalusError, match="No Parquet files in"):
        read_folder(tmp_path)
    (tmp_path / "bad.parquet").write_bytes(b"not parquet")
    with pytest.raises(SalusError, match=r"bad.parquet is not a readable Parquet file"):
        read_shard(tmp_path / "bad.parquet", PROMPT_SCHEMA)
    write_table(prompts(2).drop_columns(["level"]), tmp_path / "short.parquet")
    with pytest.raises(SalusError, match=r"short.parquet lacks the column level; it holds prompt_id"):
        read_shard(tmp_path / "short.parquet", PROMPT_SCHEMA)


@given(st.integers(0, 2**40), st.lists(st.text(max_size=5), max_size=3))
def test_seeds_are_named_draws(seed: int, names: list[str]) -> None:
    value = derive_seed(seed, *names)
    assert 0 <= value < 2**31
    assert derive_seed(seed, *names) == value
    assert derive_seed(seed, *names, "other") != value
