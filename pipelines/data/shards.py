"""Prompt shards: a stream of batches written as Parquet files, each one whole or not there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa

from actors.contract.records import PROMPT_SCHEMA
from actors.errors import SalusError
from actors.files.atomic import make_folder
from actors.files.shards import write_table


def write_prompt_shards(batches: Iterable[pa.RecordBatch], folder: Path, rows_per_shard: int) -> list[Path]:
    """Write `part-00000.parquet`, ... of exactly `rows_per_shard` rows each (the last may be shorter).

    Holds at most one shard. Afterwards the folder holds these shards alone: parts that an earlier, longer
    write left are removed. Raises `SalusError` where there is not one row, or `rows_per_shard` < 1.
    """
    if rows_per_shard < 1:
        raise SalusError(f"rows_per_shard is {rows_per_shard}: give at least 1.")
    make_folder(folder)
    written: list[Path] = []
    for table in _regrouped(batches, rows_per_shard):
        path = folder / f"part-{len(written):05d}.parquet"
        write_table(table, path)
        written.append(path)
    if not written:
        raise SalusError(f"There are no prompts to write to {folder}: check the data set and its filters.")
    for stale in set(folder.glob("part-*.parquet")) - set(written):
        stale.unlink()
    return written


def _regrouped(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.Table]:
    waiting: list[pa.RecordBatch] = []
    count = 0
    for batch in batches:
        while batch.num_rows > 0:
            part = batch.slice(0, rows - count)
            batch = batch.slice(part.num_rows)
            waiting.append(part)
            count += part.num_rows
            if count == rows:
                yield pa.Table.from_batches(waiting, schema=PROMPT_SCHEMA)
                waiting, count = [], 0
    if waiting:
        yield pa.Table.from_batches(waiting, schema=PROMPT_SCHEMA)
