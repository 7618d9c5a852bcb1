"""An append-only journal: a folder of Parquet files, each durable under its final name before anybody hears of it.

Names begin with a time that only grows, so that name order is the order of writing, and end in the writer's own random
id, so that no two writers clash.
"""

from __future__ import annotations

import os
import re
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from actors.contract.records import Record
from actors.errors import SalusError
from actors.files.atomic import make_folder
from actors.files.shards import write_table
from actors.serve.feedback.records import JournalKind

# Stamp in nanoseconds, generation (0: as appended, more: merged), writer.
_NAME = re.compile(r"(?P<stamp>\d{20})-(?P<generation>\d{4})-[0-9a-f]{8}\.parquet")
# How often a reader looks again when files went while it read.
_TRIES = 50


class Journal:
    """One writer of a journal's folder; any number of them may write there."""

    def __init__(self, folder: Path, kind: JournalKind) -> None:
        self.folder = folder
        self.kind = kind
        # Files since somebody last set it to 0.
        self.appended = 0
        self._writer = writer_id()
        with _as_sentence(folder):
            make_folder(folder)
            # A clock that was set back must not put new items before old ones.
            self._stamp = max((stamp_of(file) for file in list_files(folder)), default=0)

    def append(self, items: Sequence[Record]) -> None:
        """Write items of the journal's kind as one file; they are durable when this returns.

        Raises:
            SalusError: they could not be written.
        """
        if not items:
            return
        table = pa.Table.from_pylist([item.model_dump() for item in items], schema=self.kind.schema)
        self._stamp = max(self._stamp + 1, time.time_ns())
        with _as_sentence(self.folder):
            write_table(table, self.folder / file_name(self._stamp, 0, self._writer))
        self.appended += 1


def read(folder: Path, kind: JournalKind) -> pa.Table:
    """All items of a journal in the order of writing, the last one for each key; none where there is no folder.

    It may be appended to and compacted meanwhile: no item is missing, none is there twice.

    Raises:
        SalusError: a file is no Parquet file of this kind.
    """
    for _ in range(_TRIES):
        # A file that went was merged into another meanwhile.
        with suppress(FileNotFoundError):
            return latest([kind.schema.empty_table(), *(read_file(f, kind) for f in list_files(folder))], kind)
    raise SalusError(f"{folder} is compacted again and again while it is read; read a copy of it.")


def latest(tables: Sequence[pa.Table], kind: JournalKind) -> pa.Table:
    """The rows of tables in their order, of those with the same key the last one alone."""
    table = pa.concat_tables(tables)
    numbered = table.select([kind.key]).append_column("row", pa.array(np.arange(table.num_rows)))
    last = numbered.group_by(kind.key).aggregate([("row", "max")])["row_max"].to_numpy()
    return table.take(pa.array(np.sort(last)))


def list_files(folder: Path) -> list[Path]:
    """The journal's files in name order, temporary ones left out.

    A listing is not atomic: one that began before a merged file came, and ended after the files it was made of had
    gone, would hold neither. So it is repeated until nothing of the listing before has gone.
    """
    seen = _listing(folder)
    while True:
        again = _listing(folder)
        if seen <= again:
            return [folder / name for name in sorted(again)]
        seen = again


def read_file(path: Path, kind: JournalKind) -> pa.Table:
    """One file's rows. Raises SalusError where it is none of this kind; FileNotFoundError passes through."""
    try:
        with path.open("rb") as file:
            return pq.read_table(file).select(kind.schema.names).cast(kind.schema)
    except (pa.ArrowInvalid, KeyError) as error:
        raise SalusError(f"{path} is no file of a journal of {kind.name} ({error}); take it from a copy.") from error


def file_name(stamp: int, generation: int, writer: str) -> str:
    """A file's name; see `_NAME`."""
    return f"{stamp:020d}-{generation:04d}-{writer}.parquet"


def stamp_of(path: Path) -> int:
    """When a file was written, in nanoseconds since the epoch by its writer's clock, never less than an earlier one."""
    return int(path.name.split("-")[0])


def generation_of(path: Path) -> int:
    return int(path.name.split("-")[1])


def writer_id() -> str:
    """A name for one writer of file names."""
    return uuid.uuid4().hex[:8]


def _listing(folder: Path) -> set[str]:
    with suppress(FileNotFoundError):
        return {name for name in os.listdir(folder) if _NAME.fullmatch(name)}
    return set()


@contextmanager
def _as_sentence(folder: Path) -> Iterator[None]:
    """A fault of the file system, as a sentence."""
    try:
        yield
    except OSError as error:
        said = error.strerror or type(error).__name__
        raise SalusError(f"{folder} cannot be written ({said}); make room there, or name another folder.") from error
