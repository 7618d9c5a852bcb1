"""Append-only journals: folders of Parquet files, each durable under its final name before anybody hears of it.

Names begin with a time that only grows, so that name order is the order of writing, and end in the random id of who
wrote it, so that no two clash. Many small files become one, and what is too old goes; at no moment is an item missing.
A process that dies in between leaves both, and a reader, who takes the last row of each key, sees the same as before.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import re
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from actors.contract.records import Record
from actors.errors import SalusError
from actors.files.atomic import make_folder, sync_folder
from actors.files.shards import write_table
from actors.serve.feedback.config import FeedbackConfig
from actors.serve.feedback.records import Clock, JournalKind

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


class JournalWriter:
    """The asynchronous side of one journal; all calls come from one event loop."""

    def __init__(self, journal: Journal, gather_s: float) -> None:
        self._journal = journal
        self._gather_s = gather_s
        self._waiting: list[tuple[Record, asyncio.Future[None]]] = []
        self._commits: asyncio.Task[None] | None = None

    async def append(self, item: Record) -> None:
        """Return when the item is durable.

        Raises:
            SalusError: it could not be written.
        """
        durable: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, durable))
        if self._commits is None or self._commits.done():
            self._commits = asyncio.create_task(self._commit_all())
        await durable

    async def _commit_all(self) -> None:
        while self._waiting:
            await asyncio.sleep(self._gather_s)
            batch, self._waiting = self._waiting, []
            await self._commit(batch)

    async def _commit(self, batch: list[tuple[Record, asyncio.Future[None]]]) -> None:
        write = asyncio.to_thread(self._journal.append, [item for item, _ in batch])
        # Whatever went wrong is for those who wait for their item.
        [error] = await asyncio.gather(write, return_exceptions=True)
        # Some of them may have given up.
        for durable in (d for _, d in batch if not d.done()):
            if error is None:
                durable.set_result(None)
            else:
                durable.set_exception(error)


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


LOCK = ".writer"
_LOOK_AGAIN_S = 0.1
_DAY_S = 86_400.0


class Upkeep:
    """Merges journals when they have many new files, and drops what is too old at least once a day."""

    def __init__(self, journals: Sequence[Journal], config: FeedbackConfig, clock: Clock) -> None:
        self._journals = tuple(journals)
        self._config = config
        self._clock = clock
        self._merge_again_s = 0.0

    @property
    def due(self) -> bool:
        full = any(journal.appended >= self._config.compact_files for journal in self._journals)
        return full or time.monotonic() > self._merge_again_s

    def merge(self) -> None:
        """Raises as `actors.serve.feedback.journal.compact` does; it is due again as if it had not."""
        days = self._config.retention_days
        keep_from = self._clock() - timedelta(days=days) if days is not None else None
        # Noted first: where merging fails, it is not tried again with every item.
        self._merge_again_s = time.monotonic() + _DAY_S
        for journal in self._journals:
            journal.appended = 0
        for journal in self._journals:
            compact(journal.folder, journal.kind, keep_from)


def only_writer(folder: Path, wait_s: float, what: str, setting: str) -> Any:
    """The folder's lock, held while the returned file is open; `what` is kept there, by which `setting`.

    Raises:
        SalusError: another process holds it, or the folder cannot be made.
    """
    try:
        make_folder(folder)
        lock = (folder / LOCK).open("w")
    except OSError as error:
        raise SalusError(f"{setting} {folder} cannot be used ({error.strerror}); name another one.") from error
    until = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return lock
        except BlockingIOError:
            # A writer that was killed a moment ago gives it back when its process is gone.
            if time.monotonic() > until:
                lock.close()
                raise SalusError(
                    f"Another process keeps {what} in {folder}; end it, or name another {setting}."
                ) from None
            time.sleep(_LOOK_AGAIN_S)
