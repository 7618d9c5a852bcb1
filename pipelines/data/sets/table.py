"""The table of data sets of prompts that `data.source` can name: one row each. Everything else asks the row."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import pyarrow as pa

from pipelines.data.sets.attack_files import read_attack_prompts
from pipelines.data.sets.cares import CARES_REPOSITORY, CaresConfig, read_cares
from pipelines.data.sets.egida import EGIDA_REPOSITORY, read_egida
from pipelines.data.sets.or_bench import OR_BENCH_REPOSITORY, read_or_bench
from pipelines.data.sets.tabular import ColumnMapping, read_tabular

# Salus builds the prompts of the first two, and splits them itself.
PromptSource = Literal["clinic", "medsafety", "cares", "or_bench", "egida", "attack_files", "tabular"]
Sides = tuple[Iterator[pa.RecordBatch], Iterator[pa.RecordBatch]]
PROMPT_SOURCES: tuple[PromptSource, ...] = get_args(PromptSource)


@dataclass(frozen=True)
class DataSetRow:
    """One data set."""

    # Its prompts, as batches of `PROMPT_SCHEMA`: of a file, a folder or `hub_id`, by the settings of its section.
    read: Callable[[Any, Any], Iterator[pa.RecordBatch]]
    # The section of `data` that holds its settings; None: it has none.
    section: str | None = None
    # The hub's name of it, which is read where no path is given; None: a path must be given.
    hub_id: str | None = None
    # Its train and its test rows, where the settings keep the sides that it was published with; None: they do not.
    sides: Callable[[Any, Any], Sides | None] = lambda place, settings: None

    def batches(self, path: Path | None, settings: Any) -> Iterator[pa.RecordBatch]:
        """The prompts at `path`, or on the hub. Raises `SalusError` where they cannot be read."""
        return self.read(path or self.hub_id, settings)

    def given_splits(self, path: Path | None, settings: Any) -> Sides | None:
        """Train and test rows, where the set gives them; None where all rows are split anew. Raises as `batches`."""
        return self.sides(path or self.hub_id, settings)


def _read_cares(place: Path | str, settings: CaresConfig) -> Iterator[pa.RecordBatch]:
    return read_cares(place)


def _cares_sides(place: Path | str, settings: CaresConfig) -> Sides | None:
    if settings.split == "pooled":
        return None
    return read_cares(place, ("train",)), read_cares(place, ("test",))


def _table_sides(place: Path, settings: ColumnMapping) -> Sides | None:
    if settings.split is None and not settings.split_files:
        return None
    return read_tabular(place, settings, "train"), read_tabular(place, settings, "test")


DATA_SETS: Mapping[str, DataSetRow] = {
    "cares": DataSetRow(_read_cares, "cares", CARES_REPOSITORY, _cares_sides),
    "or_bench": DataSetRow(read_or_bench, "or_bench", OR_BENCH_REPOSITORY),
    "egida": DataSetRow(read_egida, "egida", EGIDA_REPOSITORY),
    "attack_files": DataSetRow(read_attack_prompts, "attack_files"),
    "tabular": DataSetRow(read_tabular, "columns", sides=_table_sides),
}
assert {*DATA_SETS, "clinic", "medsafety"} == set(PROMPT_SOURCES)
