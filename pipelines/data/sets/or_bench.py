"""OR-Bench (arXiv 2405.20947): harmless prompts that look unsafe, and toxic ones as their contrast.

Every prompt of the 80k and hard-1k files is harmless (level 0) by the benchmark's construction. The benchmark does
not grade the harm of the toxic ones, so their level is a setting.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from actors.errors import SalusError
from pipelines.data.batches import Item, prompt_batches
from pipelines.data.fields import text, topics
from pipelines.data.hub import hub_rows
from pipelines.data.rows import Row, rows_of

OR_BENCH_REPOSITORY = "bench-llm/or-bench"
OR_BENCH_COLUMNS = ("prompt", "category")
OrBenchSubset = Literal["or-bench-80k", "or-bench-hard-1k", "or-bench-toxic"]
OR_BENCH_SUBSETS: tuple[OrBenchSubset, ...] = ("or-bench-80k", "or-bench-hard-1k", "or-bench-toxic")


class OrBenchConfig(BaseModel):
    """What is read of OR-Bench."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # The hard thousand are also among the 80k: reading both repeats them.
    subsets: tuple[OrBenchSubset, ...] = Field(
        ("or-bench-hard-1k", "or-bench-toxic"), min_length=1, description="files of the data set, by their names"
    )
    toxic_level: Literal[1, 2, 3] = Field(3, description="harm level of every toxic prompt; our choice")


def read_or_bench(
    location: str | Path = OR_BENCH_REPOSITORY, config: OrBenchConfig | None = None
) -> Iterator[pa.RecordBatch]:
    """The prompts as batches of `PROMPT_SCHEMA`; `source` is `SUBSET/CATEGORY`.

    `location` is one file whose name holds its subset, a folder with a file for each subset of `config`, or the
    hub's repository name. Raises `SalusError` for a missing path, a file of no known subset, and a bad row.
    """
    chosen = config or OrBenchConfig()
    return prompt_batches(
        _item(row, subset, chosen.toxic_level) for subset, rows in _subsets(location, chosen) for row in rows
    )


def _subsets(location: str | Path, config: OrBenchConfig) -> Iterator[tuple[OrBenchSubset, Iterator[Row]]]:
    path = Path(location)
    if path.is_dir():
        for subset in config.subsets:
            yield subset, rows_of(path / f"{subset}.csv", OR_BENCH_COLUMNS)
    elif not path.exists() and str(location) == OR_BENCH_REPOSITORY:
        for subset in config.subsets:
            yield subset, hub_rows(OR_BENCH_REPOSITORY, "train", OR_BENCH_COLUMNS, config=subset)
    else:
        yield _subset_of(path), rows_of(path, OR_BENCH_COLUMNS)


def _subset_of(file: Path) -> OrBenchSubset:
    for subset in OR_BENCH_SUBSETS:
        if subset in file.name:
            return subset
    raise SalusError(
        f"{file} is named after none of {', '.join(OR_BENCH_SUBSETS)}: rename it, or its level is unknown."
    )


def _item(row: Row, subset: OrBenchSubset, toxic_level: int) -> Item:
    prompt = text(row, "prompt")
    level = toxic_level if subset == "or-bench-toxic" else 0
    source = f"{subset}/{text(row, 'category')}"
    return Item(prompt, level, source, base_prompt=prompt, topics=topics(row, "category"))
