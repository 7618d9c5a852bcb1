"""Preference rows on their way into TRL: Parquet shards become one memory-mapped Arrow file of rendered messages.

Prompts and answers are rendered here under the policy's chat template (`actors.engine.chat`), as they are when the
policy is asked. TRL is given a template that writes them as they are.

Shards are read in the order of their names and rows keep their order (they come shuffled with the run's seed). One
record batch is in memory at a time, whatever the size of the data.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from actors.contract.conversation import whole_conversation
from actors.contract.records import ROW_NAMES, RowKind
from actors.engine.chat import PLAIN_TEMPLATE, completion_text, conversation_text, text_tokens
from actors.engine.rendering import check_same_ids
from actors.errors import SalusError
from actors.files.shards import strings

if TYPE_CHECKING:
    import datasets

MESSAGES = pa.list_(pa.struct([pa.field("role", pa.string()), pa.field("content", pa.string())]))
# The text columns of each kind of row; unpaired rows also have a boolean `label`.
TEXT_COLUMNS: dict[RowKind, tuple[str, ...]] = {
    "unpaired": ("prompt", "completion"),
    "pairs": ("prompt", "chosen", "rejected"),
    "demonstrations": ("prompt", "completion"),
}
_UNJUDGED = (
    "the judgments gave nothing to learn from; sample more answers per prompt, or raise the sampling temperature"
)
# Why there are no rows of a kind, and what helps.
_NOTHING: dict[RowKind, str] = {
    "unpaired": _UNJUDGED,
    "pairs": _UNJUDGED,
    "demonstrations": "no prompt has a good answer; give a file of conversations",
}
# The turns before the prompt, in rows that have some.
CONTEXT = "context"
BATCH_ROWS = 8192
# TRL tokenises about a thousand rows a second in a process: an estimate.
ROWS_PER_PROCESS = 5000
_LOOKED_AT = 4
# The label of a token that is not learnt.
IGNORED = -100


class RowCount(BaseModel):
    """How many rows were staged, and of unpaired ones how many of them are desirable."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: int
    desirable: int = 0


def stage_rows(folder: Path, kind: RowKind, out: Path, tokenizer: Any) -> RowCount:
    """Write the Parquet rows under `folder` to the Arrow stream file `out`, texts as lists of one rendered message.

    Prompts, with the turns before them, and answers are rendered under the tokenizer's chat template. Extra columns
    are dropped.

    Raises:
        SalusError: no rows, a missing column, a wrong type, an empty value, or a template without answers.
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
                staged = _rendered(batch, kind, (path, first_row), schema, tokenizer)
                writer.write_batch(staged)
                first_row += batch.num_rows
                rows += batch.num_rows
                desirable += _count_true(batch.column("label")) if kind == "unpaired" else 0
    if rows == 0:
        raise SalusError(f"The {ROW_NAMES[kind].upper()} rows in {folder} are empty: {_NOTHING[kind]}.")
    return RowCount(rows=rows, desirable=desirable)


def tokenising_processes(cpus: float, count: RowCount) -> int | None:
    """In how many processes the first worker tokenises while the others wait for it; None: in its own alone.

    It takes the CPUs of one worker, and no more processes than are worth their start, which takes a second or two.
    """
    processes = min(int(cpus), count.rows // ROWS_PER_PROCESS)
    return processes if processes > 1 else None


def plain_tokenizer(tokenizer: Any) -> Any:
    """A copy of a tokenizer for rendered messages: its template writes them as they are."""
    plain = copy.deepcopy(tokenizer)
    plain.chat_template = PLAIN_TEMPLATE
    return plain


def check_prompts(rows: datasets.Dataset, tokenizer: Any) -> None:
    """Refuse rows whose prompts TRL begins otherwise than the policy is asked; looks at the first few.

    Raises:
        SalusError: shows both, as `actors.engine.rendering` does.
    """
    if "prompt_ids" not in rows.column_names:
        return
    for row in rows.select(range(min(len(rows), _LOOKED_AT))):
        expected = text_tokens(tokenizer, row["prompt"][0]["content"])
        check_same_ids(tokenizer, expected, row["prompt_ids"], "The trainer")


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
    # Rows of earlier versions have no context.
    context = [name for name in (CONTEXT,) if name in file.schema_arrow.names]
    return file.iter_batches(batch_size=BATCH_ROWS, columns=[*columns, *context])


def _rendered(
    batch: pa.RecordBatch, kind: RowKind, place: tuple[Path, int], schema: pa.Schema, tokenizer: Any
) -> pa.RecordBatch:
    texts = {
        name: [str(text) for text in _checked(batch, name, pa.string(), *place).to_pylist()]
        for name in TEXT_COLUMNS[kind]
    }
    contexts = strings(batch, CONTEXT) if CONTEXT in batch.schema.names else [""] * batch.num_rows
    asked = [whole_conversation(*row) for row in zip(contexts, texts.pop("prompt"), strict=True)]
    prompts = [conversation_text(tokenizer, turns) for turns in asked]
    arrays: list[pa.Array[Any]] = [_messages("user", prompts)]
    for answers in texts.values():
        said = [completion_text(tokenizer, *row) for row in zip(asked, answers, prompts, strict=True)]
        arrays.append(_messages("assistant", said))
    if kind == "unpaired":
        arrays.append(_checked(batch, "label", pa.bool_(), *place))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _checked(batch: pa.RecordBatch, name: str, kind: pa.DataType, path: Path, first_row: int) -> pa.Array[Any]:
    column = batch.column(name)
    if column.type != kind and not (kind == pa.string() and pa.types.is_large_string(column.type)):
        raise SalusError(f"Column {name} of {path} is {column.type}, not {kind}; write it as {kind}.")
    if column.null_count:
        row = first_row + column.is_null().index(pa.scalar(True)).as_py()
        raise SalusError(f"Column {name} of {path} has no value in row {row}; drop the row or fill it in.")
    return column.cast(kind)


def _messages(role: str, texts: list[str]) -> pa.Array[Any]:
    """A list of one `{role, content}` message for each text."""
    return pa.array([[{"role": role, "content": text}] for text in texts], type=MESSAGES)


def _count_true(labels: pa.Array[Any]) -> int:
    assert isinstance(labels, pa.BooleanArray)
    return labels.true_count
