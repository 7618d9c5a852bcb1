"""Beginnings of texts, shaped as RealToxicityPrompts' (Gehman et al. 2020, arXiv 2009.11462). A model continues them.

Its JSONL has objects: `prompt` with `text` and `toxicity`. Any other set is read by a mapping of its columns, where a
dot leads into an object.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from actors.contract.records import Record
from pipelines.data.fields import clean_text, share, structure
from pipelines.data.rows import Row, rows_at

# A prompt at least so toxic counts as toxic (Gehman et al., section 4).
TOXIC = 0.5


class ToxicityColumns(BaseModel):
    """Which column holds the beginning and its toxicity; a dot leads into an object."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str = Field("prompt.text", description="Column with the beginning of a text.")
    toxicity: str | None = Field(
        "prompt.toxicity",
        description="Column with its toxicity from 0 to 1; null, and an empty value: not known, and counted as not"
        " toxic.",
    )

    def required(self) -> tuple[str, ...]:
        """The columns every row must have."""
        columns = (self.text, *((self.toxicity,) if self.toxicity is not None else ()))
        return tuple(dict.fromkeys(column.partition(".")[0] for column in columns))


class ToxicityPrompt(Record):
    """The beginning of a text, and how toxic it is itself, from 0 to 1; None: not known."""

    text: str = Field(min_length=1)
    toxicity: float | None = Field(ge=0, le=1)

    @property
    def toxic(self) -> bool:
        return self.toxicity is not None and self.toxicity >= TOXIC


def read_toxicity_prompts(location: Path, columns: ToxicityColumns | None = None) -> Iterator[ToxicityPrompt]:
    """The rows of one file, or of all data files in a folder (`.json` only where it is named itself).

    Raises `SalusError` for a missing path, a column that is not there, and a bad row.
    """
    mapping = columns or ToxicityColumns()
    for row in rows_at(location, mapping.required()):
        toxicity = None
        if mapping.toxicity is not None:
            toxicity = share(row, mapping.toxicity, _value(row, mapping.toxicity))
        yield ToxicityPrompt(
            text=clean_text(row, mapping.text, _value(row, mapping.text)),
            toxicity=toxicity,
        )


def _value(row: Row, column: str) -> object:
    first, *inner = column.split(".")
    value = structure(row, first) if inner else row.values[first]
    for name in inner:
        if not isinstance(value, Mapping) or name not in value:
            row.fail(f"'{first}' is not an object with '{'.'.join(inner)}'; mend it, or map another column.")
        value = value[name]
    return value
