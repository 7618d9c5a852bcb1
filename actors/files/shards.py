"""Arrow tables on disk: Parquet files, each whole and durable under its name, so a reader never sees half a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from actors.errors import SalusError
from actors.files.atomic import replacing, write_atomically


def write_table(table: pa.Table, path: Path) -> None:
    """Write `table` as one Parquet file. Durable, and raises, as `actors.files.atomic.replacing`."""
    with replacing(path) as file:
        pq.write_table(table, file)


def write_text(text: str, path: Path) -> None:
    """Write `text` as UTF-8. Durable, and raises, as `actors.files.atomic.replacing`."""
    write_atomically(path, text.encode())


def write_bytes(content: bytes, path: Path) -> None:
    """Write `content`. Durable, and raises, as `actors.files.atomic.replacing`."""
    write_atomically(path, content)


def with_columns(table: pa.Table, columns: Mapping[str, Sequence[Any]], schema: pa.Schema) -> pa.Table:
    """`table` with further columns, in all the columns of `schema`."""
    for name, values in columns.items():
        field = schema.field(name)
        table = table.append_column(field, pa.array(values, field.type))
    return table.cast(schema)


def shard_files(folder: Path) -> list[Path]:
    """The Parquet shards of a folder in name order.

    Raises:
        SalusError: there are none.
    """
    files = sorted(folder.glob("*.parquet"))
    if not files:
        raise SalusError(f"No Parquet files in {folder}; run the step that writes them first.")
    return files


def read_folder(folder: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """All shards of a folder as one table, in name order; pass `columns` to read only what is needed.

    A column that only newer shards of a run have is null in the older ones. One that none of them has is not there.
    """
    shards = [read_columns(file, columns) for file in shard_files(folder)]
    return pa.concat_tables(shards, promote_options="default")


def read_columns(file: Path, columns: Sequence[str] | None) -> pa.Table:
    """These columns of one shard, as far as it has them; None: all."""
    if columns is None:
        return pq.read_table(file)
    with pq.ParquetFile(file) as shard:
        there = set(shard.schema_arrow.names)
        return shard.read(columns=[name for name in columns if name in there])


def strings(table: pa.Table | pa.RecordBatch, column: str) -> list[str]:
    """A column of strings as a list; a null becomes the empty string."""
    return [value or "" for value in table[column].to_pylist()]


def read_shard(path: Path, schema: pa.Schema) -> pa.Table:
    """One shard, checked against the columns a step needs; a nullable one that it lacks is null.

    Raises:
        SalusError: the file cannot be read, or lacks a column that may not be null.
    """
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise SalusError(f"{path} is not a readable Parquet file ({error}); write it again.") from error
    lacking = [field for field in schema if field.name not in table.column_names]
    missing = [field.name for field in lacking if not field.nullable]
    if missing:
        raise SalusError(
            f"{path} lacks the column{'s' if len(missing) > 1 else ''} {', '.join(missing)};"
            f" it holds {', '.join(table.column_names)}."
        )
    for field in lacking:
        table = table.append_column(field, pa.nulls(table.num_rows, field.type))
    return table.select(schema.names).cast(schema)
