"""Shards: every row once, in order, whole files only."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actors.errors import SalusError
from actors.files.shards import read_folder
from pipelines.data.batches import Item, prompt_batches, prompt_table
from pipelines.data.shards import write_prompt_shards


def _batches(rows: int, batch_rows: int = 7) -> Iterator[pa.RecordBatch]:
    return prompt_batches((Item(f"p{i}", 0, "s", base_prompt=f"p{i}") for i in range(rows)), batch_rows)


@pytest.mark.parametrize(("rows", "per_shard"), [(1, 10), (20, 10), (23, 10), (23, 3), (5, 1)])
def test_rows_survive_regrouping(tmp_path: Path, rows: int, per_shard: int) -> None:
    paths = write_prompt_shards(_batches(rows), tmp_path / "out", per_shard)
    assert [pq.read_metadata(path).num_rows for path in paths[:-1]] == [per_shard] * (len(paths) - 1)
    assert read_folder(tmp_path / "out").to_pylist() == prompt_table(_batches(rows)).to_pylist()


def test_a_shorter_write_leaves_no_old_shard(tmp_path: Path) -> None:
    write_prompt_shards(_batches(30), tmp_path, 10)
    write_prompt_shards(_batches(12), tmp_path, 10)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["part-00000.parquet", "part-00001.parquet"]


def test_a_fault_in_the_stream_leaves_whole_files_only(tmp_path: Path) -> None:
    def failing() -> Iterator[pa.RecordBatch]:
        yield from _batches(10)
        raise SalusError("bad row")

    with pytest.raises(SalusError, match="bad row"):
        write_prompt_shards(failing(), tmp_path, 4)
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["part-00000.parquet", "part-00001.parquet"]
    assert read_folder(tmp_path).num_rows == 8


def test_nothing_to_write_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SalusError, match="no prompts to write"):
        write_prompt_shards([], tmp_path, 4)
    with pytest.raises(SalusError, match="at least 1"):
        write_prompt_shards(_batches(3), tmp_path, 0)
