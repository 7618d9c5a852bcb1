"""Preference rows on their way into TRL: Parquet shards become one memory-mapped Arrow file of messages.

Shards are read in the order of their names and rows keep their order (they come shuffled with the run's seed). One
record batch is in memory at a time, whatever the size of the data.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from actors.contract.records import ROW_NAMES, RowKind
from actors.errors import SalusError

if TYPE_CHECKING:
    import datasets

MESSAGES = pa.list_(pa.struct([pa.field("role", pa.string()), pa.field("content", pa.string())]))
# The text columns of each kind of row; unpaired rows also have a boolean `label`.
TEXT_COLUMNS: dict[RowKind, tuple[str, ...]] = {
    "unpaired": ("prompt", "completion"),
    "pairs": ("prompt", "chosen", "rejected"),
}
BATCH_ROWS = 8192
# The label of a token that is not learnt.
IGNORED = -100


class RowCount(BaseModel):
    """How many rows were staged, and of unpaired ones how many of them are desirable."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: int
    desirable: int = 0


def stage_rows(folder: Path, kind: RowKind, out: Path) -> RowCount:
    """Write the Parquet rows under `folder` to the Arrow stream file `out`, texts as lists of one message.

    Prompts become user messages and answers assistant messages, so that the model's own chat template
    applies. Extra columns are dropped. Raises SalusError for no rows, a missing column, a wrong type or an
    empty value.
    """
    files = sorted(folder.rglob("*.parquet")) if folder.is_dir() else []
    if not files:
        raise SalusError(
            f"There are no Parquet files in {folder}; write the {ROW_NAMES[kind].upper()} rows there first."
        )
    fields: list[pa.Field[Any]] = [pa.field(name, MESSAGES) for name in TEXT_COLUMNS[kind]]
    if kind == "unpaired":
        fields.append(pa.field("label", pa.bool_()))
    schema = pa.schema(fields)
    rows = desirable = 0
    with pa.OSFile(str(out), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
        for path in files:
            first_row = 0
            for batch in _batches(path, kind, schema.names):
                staged = _as_messages(batch, kind, path, first_row, schema)
                writer.write_batch(staged)
                first_row += batch.num_rows
                rows += batch.num_rows
                desirable += _count_true(batch.column("label")) if kind == "unpaired" else 0
    if rows == 0:
        raise SalusError(
            f"The {ROW_NAMES[kind].upper()} rows in {folder} are empty: the judgments gave nothing to learn from; "
            "sample more answers per prompt, or raise the sampling temperature."
        )
    return RowCount(rows=rows, desirable=desirable)


def with_answers(rows: datasets.Dataset) -> datasets.Dataset:
    """A trainer's rows without pairs whose prompt alone is as long as a row may be; some of TRL's trainers keep them.

    In memory: every rank does it, and a file in the cache could be another's, half written.
    """
    answers = ("chosen_labels", "rejected_labels")
    if not set(answers) <= set(rows.column_names):
        return rows
    return rows.filter(
        lambda *labels: all(any(label != IGNORED for label in each) for each in labels),
        input_columns=list(answers),
        keep_in_memory=True,
    )


def _batches(path: Path, kind: RowKind, columns: list[str]) -> Iterator[pa.RecordBatch]:
    try:
        file = pq.ParquetFile(path)
    except pa.ArrowInvalid as error:
        raise SalusError(f"{path} is not a readable Parquet file ({error}); write it again.") from error
    missing = [name for name in columns if name not in file.schema_arrow.names]
    if missing:
        raise SalusError(
            f"{path} has no column {missing[0]} (it has {', '.join(file.schema_arrow.names)}); "
            f"{ROW_NAMES[kind].upper()} rows need {', '.join(columns)}."
        )
    return file.iter_batches(batch_size=BATCH_ROWS, columns=columns)


def _as_messages(batch: pa.RecordBatch, kind: RowKind, path: Path, first_row: int, schema: pa.Schema) -> pa.RecordBatch:
    arrays: list[pa.Array[Any]] = []
    for name in TEXT_COLUMNS[kind]:
        texts = _checked(batch, name, pa.string(), path, first_row)
        role = "user" if name == "prompt" else "assistant"
        arrays.append(_one_message(texts, role))
    if kind == "unpaired":
        arrays.append(_checked(batch, "label", pa.bool_(), path, first_row))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _checked(batch: pa.RecordBatch, name: str, kind: pa.DataType, path: Path, first_row: int) -> pa.Array[Any]:
    column = batch.column(name)
    if column.type != kind and not (kind == pa.string() and pa.types.is_large_string(column.type)):
        raise SalusError(f"Column {name} of {path} is {column.type}, not {kind}; write it as {kind}.")
    if column.null_count:
        row = first_row + column.is_null().index(pa.scalar(True)).as_py()
        raise SalusError(f"Column {name} of {path} has no value in row {row}; drop the row or fill it in.")
    return column.cast(kind)


def _one_message(texts: pa.Array[Any], role: str) -> pa.Array[Any]:
    """A list of one `{role, content}` message for each text, built without leaving Arrow."""
    count = len(texts)
    messages = pa.StructArray.from_arrays(
        [pa.array([role] * count, pa.string()), texts], fields=list(MESSAGES.value_type)
    )
    return pa.ListArray.from_arrays(pa.array(range(count + 1), pa.int32()), messages, type=MESSAGES)


def _count_true(labels: pa.Array[Any]) -> int:
    assert isinstance(labels, pa.BooleanArray)
    return labels.true_count
