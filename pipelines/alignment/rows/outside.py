"""Rows that are not of the policy's own answers: each once, none about a prompt the run is evaluated on, in shards."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from actors.contract.records import Record
from actors.contract.seeds import derive_seed
from actors.files.shards import write_table
from pipelines.data.split import group_key

ROWS_PER_FILE = 10_000
_KEY_BYTES = 12


class OutsideReport(Record):
    """What became of the rows that were read; `report.json` beside them."""

    kept: int
    # Equal to an earlier one, or with the same answer twice.
    repeated: int = 0
    # About a prompt the run is evaluated on.
    evaluated: int = 0
    # Of a topic or a style that the recipe holds out.
    held_out: int = 0

    @property
    def read(self) -> int:
        return self.kept + self.repeated + self.evaluated + self.held_out


@dataclass(frozen=True)
class OutsideRow:
    """One row, and what it is about."""

    values: dict[str, Any]
    # Columns of which no two may be the same: its question and its answers.
    texts: tuple[str, ...]
    # The prompts it must not share with what the run is evaluated on.
    prompts: tuple[str, ...]
    # It teaches nothing, as a pair of twice the same answer.
    idle: bool = False
    # Of a topic or a style that the recipe holds out.
    held_out: bool = False


def write_outside(
    found: Iterable[OutsideRow],
    evaluated: set[str],
    folder: Path,
    schema: pa.Schema,
    most: int | None = None,
    seed: int = 0,
) -> OutsideReport:
    """Write the rows as shards of `schema`, in the order they come in.

    Args:
        found: the rows.
        evaluated: the prompts the run is evaluated on, as `group_key` tells texts apart.
        folder: receives the shards.
        schema: of the shards; other values of a row are not written.
        most: no more of them, drawn by the seed, and then in the order of the draw; None: all.
        seed: of the draw.
    """
    count = _Count()
    rows = _kept(found, evaluated, count)
    if most is not None:
        rows = iter(heapq.nsmallest(most, rows, key=lambda row: derive_seed(seed, "outside", *row.texts)))
    written = 0
    for number, batch in enumerate(_batches(rows)):
        write_table(pa.Table.from_pylist(batch, schema=schema), folder / f"part-{number:05d}.parquet")
        written += len(batch)
    return OutsideReport(kept=written, repeated=count.repeated, evaluated=count.evaluated, held_out=count.held_out)


@dataclass
class _Count:
    repeated: int = 0
    evaluated: int = 0
    held_out: int = 0


def _kept(found: Iterable[OutsideRow], evaluated: set[str], count: _Count) -> Iterator[OutsideRow]:
    seen: set[bytes] = set()
    for row in found:
        key = hashlib.blake2b("\x1f".join(row.texts).encode(), digest_size=_KEY_BYTES).digest()
        if key in seen or row.idle:
            count.repeated += 1
        elif set(map(group_key, row.prompts)) & evaluated:
            count.evaluated += 1
        elif row.held_out:
            count.held_out += 1
        else:
            seen.add(key)
            yield row


def _batches(rows: Iterator[OutsideRow]) -> Iterator[Sequence[dict[str, Any]]]:
    waiting: list[dict[str, Any]] = []
    for row in rows:
        waiting.append(row.values)
        if len(waiting) == ROWS_PER_FILE:
            yield waiting
            waiting = []
    if waiting:
        yield waiting
