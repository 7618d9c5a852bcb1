"""Many small files of a journal become one, and what is too old goes; at no moment is an item missing or double.

The merged file is durable before the files it is made of are removed. A process that dies in between leaves both, and
a reader, who takes the last row of each key, sees the same as before.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from actors.contract.records import Record
from actors.files.atomic import sync_folder
from actors.files.shards import write_table
from actors.serve.feedback.journal import (
    file_name,
    generation_of,
    latest,
    list_files,
    read_file,
    stamp_of,
    writer_id,
)
from actors.serve.feedback.records import JournalKind

# A file with so many rows is left as it is.
FULL_ROWS = 100_000
# The temporary file of a writer that died; a living one renames its own within seconds.
_ABANDONED_S = 3600.0


class Compacted(Record):
    """What a compaction did."""

    files_before: int
    files_after: int
    # Rows that were older than what is kept.
    expired: int


def compact(
    folder: Path, kind: JournalKind, keep_from: datetime | None = None, full_rows: int = FULL_ROWS
) -> Compacted:
    """Merge neighbouring small files, and drop rows from before `keep_from`. One compaction of a folder at a time.

    OSError passes through: whatever was done until then holds.
    """
    _remove_abandoned(folder)
    files = list_files(folder)
    after, expired = 0, 0
    for group in _groups(files, full_rows):
        tables = [read_file(file, kind) for file in group]
        kept = _recent(latest(tables, kind), keep_from)
        old = sum(table.num_rows - _recent(table, keep_from).num_rows for table in tables)
        expired += old
        if len(group) > 1 or old:
            _replace(group, kept)
            after += bool(kept.num_rows)
        else:
            after += 1
    return Compacted(files_before=len(files), files_after=after, expired=expired)


def _groups(files: list[Path], full_rows: int) -> Iterator[list[Path]]:
    """Neighbours that together reach `full_rows`; of others, a later word could come before an earlier one."""
    group: list[Path] = []
    rows = 0
    for file in files:
        group.append(file)
        rows += pq.read_metadata(file).num_rows
        if rows >= full_rows:
            yield group
            group, rows = [], 0
    if group:
        yield group


def _replace(group: list[Path], kept: pa.Table) -> None:
    folder, last = group[0].parent, group[-1]
    if kept.num_rows:
        # Right behind the last of them, before whatever was written since.
        name = file_name(stamp_of(last), generation_of(last) + 1, writer_id())
        write_table(kept, folder / name)
    for file in group:
        file.unlink(missing_ok=True)
    sync_folder(folder)


def _recent(table: pa.Table, keep_from: datetime | None) -> pa.Table:
    if keep_from is None:
        return table
    return table.filter(pc.greater_equal(table["at"], pa.scalar(keep_from, table["at"].type)))


def _remove_abandoned(folder: Path) -> None:
    for file in folder.glob(".*.tmp"):
        # That of a living writer has its own name meanwhile.
        with contextlib.suppress(FileNotFoundError):
            if time.time() - file.stat().st_mtime > _ABANDONED_S:
                file.unlink()
