"""CARES-18K (arXiv 2505.11413): medical prompts of four harm levels, eight principles and four methods.

Read from local files or from the hub. Its own train and test rows share base prompts. So a run pools them and
splits by base prompt (`split.py`), unless it is to be compared with the paper (`CaresConfig.split`).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from actors.contract.records import METHODS
from pipelines.data.batches import Item, prompt_batches
from pipelines.data.fields import one_of, text, whole_number
from pipelines.data.hub import hub_rows
from pipelines.data.rows import Row, data_files, files_of_sides, rows_of

CARES_REPOSITORY = "HFXM/CARES-18K"
CARES_COLUMNS = ("principle_index", "harmful_level", "method", "generation_model", "base_prompt", "prompt")
CaresSplit = Literal["train", "test"]
SPLIT = "split"
CARES_SPLITS: tuple[CaresSplit, ...] = ("train", "test")


class CaresConfig(BaseModel):
    """How CARES is split."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    split: Literal["pooled", "published"] = Field(
        "pooled",
        description="pooled: all rows, by base prompt as data.split says. published: the paper's test rows are the test"
        " split, so that figures compare with the paper's (set data.published to 0). Train rows that share a base"
        " prompt with them are left out, and the others are train and validation. A single file says it in a column"
        " split",
    )


def read_cares(
    location: str | Path = CARES_REPOSITORY, splits: tuple[CaresSplit, ...] = CARES_SPLITS
) -> Iterator[pa.RecordBatch]:
    """CARES prompts as batches of `PROMPT_SCHEMA`, levels, principles and methods as published.

    `location` is a data file, a folder, or the hub's repository name. A folder has files called `train*` and `test*`,
    in itself or in its `data/` folder, as the hub lays them out. Of a file every row is read. Where one split is asked
    for, its column `split` says train or test.
    Raises `SalusError` for a bad row, a missing path, and a hub that cannot be reached.
    """
    path = Path(location)
    if not path.exists() and str(location) == CARES_REPOSITORY:
        return prompt_batches(
            _item(row) for split in splits for row in hub_rows(CARES_REPOSITORY, split, CARES_COLUMNS)
        )
    return prompt_batches(map(_item, _rows(path, splits)))


def _rows(path: Path, splits: tuple[CaresSplit, ...]) -> Iterator[Row]:
    if path.is_file() and splits != CARES_SPLITS:
        (file,) = data_files(path)
        yield from (row for row in rows_of(file, (*CARES_COLUMNS, SPLIT)) if one_of(row, SPLIT, CARES_SPLITS) in splits)
        return
    for file in data_files(path) if path.is_file() else files_of_sides(path, splits):
        yield from rows_of(file, CARES_COLUMNS)


def _item(row: Row) -> Item:
    return Item(
        prompt=text(row, "prompt"),
        level=whole_number(row, "harmful_level", 0, 3),
        source="cares-18k",
        base_prompt=text(row, "base_prompt"),
        principle=whole_number(row, "principle_index", 0, 7),
        method=one_of(row, "method", METHODS),
    )
