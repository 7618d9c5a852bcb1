"""Any CSV, JSONL or Parquet data set, by a mapping of its columns to a prompt's fields."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, Self

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, model_validator

from actors.contract.records import METHODS, Method
from pipelines.data.batches import Item, prompt_batches
from pipelines.data.conversations import answer_text, conversation
from pipelines.data.fields import one_of, optional_text, topics, whole_number
from pipelines.data.rows import Row, data_files, files_of_sides, nearest, rows_of

TableSide = Literal["train", "test"]
TABLE_SIDES: tuple[TableSide, ...] = ("train", "test")


class ColumnMapping(BaseModel):
    """Which column holds which field; a field without a column takes its fixed value or stays empty."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: str = Field(
        default="prompt",
        description="Column with the prompt: a text, or a list of messages (role and content, or from and value).",
    )
    level: str | None = Field(default=None, description="Column with the harm level; or give fixed_level.")
    fixed_level: Literal[0, 1, 2, 3] | None = Field(default=None, description="The harm level of every row.")
    level_names: dict[str, Literal[0, 1, 2, 3]] | None = Field(
        default=None,
        description="Levels by the level column's words, as {safe: 0, unsafe: 3}; else numbers.",
    )
    principle: str | None = Field(default=None, description="Column with the CARES principle, 0 to 7.")
    method: str | None = Field(default=None, description="Column with the method; every row is `direct` without it.")
    base_prompt: str | None = Field(
        default=None,
        description="Column that groups rewrites of one prompt; without it each first question is a group.",
    )
    reference: str | None = Field(
        default=None, description="Column with a reference safe answer, if there is one; a text or a message."
    )
    topics: str | None = Field(
        default=None,
        description="Column with what a prompt is about: a text, a list of them, or topics with yes or no.",
    )
    split: str | None = Field(
        default=None,
        description="Column with train or test: rows keep their side. Validation is drawn from train by the seed, and"
        " train rows that share a base prompt with the test split are left out.",
    )
    split_files: bool = Field(
        default=False, description="The same by files of the folder: those called train* and test* keep their side."
    )
    source: str = Field(default="tabular", min_length=1, description="The data set's name in every row and report.")

    @model_validator(mode="after")
    def _one_level(self) -> Self:
        if (self.level is None) == (self.fixed_level is None):
            raise ValueError("give either 'level' (a column) or 'fixed_level' (one level for every row), not both")
        if self.level_names is not None and self.level is None:
            raise ValueError("'level_names' needs 'level', the column whose words it names")
        if self.split is not None and self.split_files:
            raise ValueError("give either 'split' (a column) or 'split_files' (by the files' names), not both")
        return self

    def columns(self) -> tuple[str, ...]:
        """The columns every row must have."""
        mapped = (
            self.prompt, self.level, self.principle, self.method, self.base_prompt, self.reference, self.topics,
            self.split,
        )  # fmt: skip
        return tuple(column for column in mapped if column is not None)


def read_tabular(location: Path, mapping: ColumnMapping, side: TableSide | None = None) -> Iterator[pa.RecordBatch]:
    """The rows of one file, or of all data files in a folder, as batches of `PROMPT_SCHEMA`.

    `side`: those alone that the mapping says are of that side; None: all. Raises `SalusError` for a missing path, a
    column that is not there, and a bad row.
    """
    files = files_of_sides(location, (side,)) if side is not None and mapping.split_files else data_files(location)
    rows: Iterator[Row] = (row for file in files for row in rows_of(file, mapping.columns()))
    if side is not None and mapping.split is not None:
        column = mapping.split
        rows = (row for row in rows if one_of(row, column, TABLE_SIDES) == side)
    return prompt_batches(_item(row, mapping) for row in rows)


def _item(row: Row, mapping: ColumnMapping) -> Item:
    asked = conversation(row, mapping.prompt)
    method: Method = one_of(row, mapping.method, METHODS) if mapping.method else "direct"
    base = optional_text(row, mapping.base_prompt) if mapping.base_prompt else None
    return Item(
        prompt=asked.prompt,
        context=asked.context,
        level=_level(row, mapping),
        source=mapping.source,
        base_prompt=base if base is not None else asked.first,
        principle=_principle(row, mapping.principle),
        method=method,
        reference=answer_text(row, mapping.reference) if mapping.reference else None,
        topics=topics(row, mapping.topics) if mapping.topics else None,
    )


def _principle(row: Row, column: str | None) -> int | None:
    if column is None or row.values[column] is None or row.values[column] == "":
        return None
    return whole_number(row, column, 0, 7)


def _level(row: Row, mapping: ColumnMapping) -> int:
    if mapping.level is None:
        assert mapping.fixed_level is not None  # the mapping's own validator
        return mapping.fixed_level
    if mapping.level_names is None:
        return whole_number(row, mapping.level, 0, 3)
    name = str(row.values[mapping.level]).strip()
    if name not in mapping.level_names:
        row.fail(
            f"'{mapping.level}' is '{name}', which level_names does not have; "
            f"did you mean '{nearest(name, mapping.level_names)}'?"
        )
    return mapping.level_names[name]
