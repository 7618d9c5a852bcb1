"""Journals: rows that one process appends to a SQLite database, each durable before a call returns.

The last row of each key counts, and what is too old goes. Any number of processes read meanwhile, without waiting.
Earlier versions kept a journal as Parquet files in the same folder. A writer takes them over; a reader reads them too.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import sqlite3
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from actors.contract.records import Record
from actors.errors import SalusError
from actors.files.atomic import sync_folder
from actors.files.sqlite import as_sentence, empty_log, is_marked, open_writer, reading, transaction
from actors.serve.feedback.config import FeedbackConfig
from actors.serve.feedback.records import Clock, JournalKind

_log = logging.getLogger(__name__)
# The database in a journal's folder.
DATABASE = "journal.sqlite"
# Says that a database is a journal, and in which form ("SaJ1").
_MARK = 0x53614A31
# How an earlier version named the files of a journal, and how those that a killed one left half-way.
_PARQUET = re.compile(r"\d{20}-\d{4}-[0-9a-f]{8}\.parquet")
_HALF_WRITTEN = re.compile(r"\.\d{20}-\d{4}-[0-9a-f]{8}\.parquet\.[0-9a-f]+\.tmp")
# Rows that are made into Arrow arrays at a time.
_AT_ONCE = 10_000
# How often a reader looks again when files went while it read.
_TRIES = 50


class Journal:
    """The writer of one journal's folder. Any thread may call it."""

    def __init__(self, folder: Path, kind: JournalKind) -> None:
        """Open the journal, made where there is none; take over the files of an earlier version.

        Raises:
            SalusError: it cannot be written, or is something else.
        """
        self.kind = kind
        self._path = folder / DATABASE
        self._lock = threading.Lock()
        with as_sentence(self._path, _named(kind), "written"):
            self._connection = open_writer(self._path, _MARK)
            try:
                self._file = _identity(self._path)
                self._begin()
                self._take_over()
            except BaseException:
                self._connection.close()
                raise

    def append(self, items: Sequence[Record]) -> None:
        """Write items of the journal's kind, all or none; they are durable when this returns.

        Raises:
            SalusError: they could not be written.
        """
        if not items:
            return
        table = pa.Table.from_pylist([item.model_dump() for item in items], schema=self.kind.schema)
        with self._lock, as_sentence(self._path, _named(self.kind), "written"):
            self._check_place()
            with transaction(self._connection):
                self._insert(table)

    def expire(self, keep_from: datetime | None) -> bool:
        """Remove the rows from before `keep_from`, and every row that a later one of its key replaced, from the disk.

        Returns:
            False where a reader still needs what went, so that the write-ahead log holds it: expire again.

        Raises:
            SalusError: not all of it could be done; expire again.
        """
        oldest = _plain(keep_from) if keep_from is not None else None
        with self._lock, as_sentence(self._path, _named(self.kind), "written"):
            self._check_place()
            with transaction(self._connection):
                if self._has_expired(oldest):
                    self._rewrite(oldest)
            return empty_log(self._connection)

    def close(self) -> None:
        """Let another one write; nothing can be appended any more."""
        with self._lock:
            self._connection.close()

    def _begin(self) -> None:
        with transaction(self._connection):
            if is_marked(self._connection, self._path, _MARK):
                _check_kind(self._connection, self._path, self.kind)
                return
            self._connection.execute(_create(self.kind, self.kind.name))
            # Files of an earlier version whose rows are in the database.
            self._connection.execute("CREATE TABLE taken_over (name TEXT PRIMARY KEY)")
            self._connection.execute(f"PRAGMA application_id={_MARK}")

    def _take_over(self) -> None:
        """Take in the rows of Parquet files, then remove them. After a kill half-way the next one does the rest."""
        folder = self._path.parent
        files = _parquet_files(folder)
        known = _taken_over(self._connection)
        with transaction(self._connection):
            for file in (f for f in files if f.name not in known):
                self._insert(_read_parquet(file, self.kind))
                self._connection.execute("INSERT INTO taken_over VALUES (?)", (file.name,))
        gone = [*files, *(each for each in folder.iterdir() if _HALF_WRITTEN.fullmatch(each.name))]
        for file in gone:
            file.unlink(missing_ok=True)
        if gone:
            sync_folder(folder)
            empty_log(self._connection)

    def _insert(self, table: pa.Table) -> None:
        names = _quoted(self.kind.schema.names)
        marks = ", ".join("?" for _ in self.kind.schema)
        columns = [_plain_column(table[field.name], field) for field in self.kind.schema]
        self._connection.executemany(
            f'INSERT OR REPLACE INTO "{self.kind.name}" ({names}) VALUES ({marks})', zip(*columns, strict=True)
        )

    def _has_expired(self, oldest: int | None) -> bool:
        # Rows are numbered without a gap, until one replaces another.
        (replaced,) = self._connection.execute(
            f'SELECT count(*) < coalesce(max(n), 0) FROM "{self.kind.name}"'
        ).fetchone()
        (expired,) = self._connection.execute(
            f'SELECT EXISTS (SELECT 1 FROM "{self.kind.name}" WHERE "at" < ?)', (oldest,)
        ).fetchone()
        return bool(replaced or expired)

    def _rewrite(self, oldest: int | None) -> None:
        """Move the rows that stay into a new table, and drop the old one, whose pages are overwritten.

        SQLite overwrites a row that it deletes. It does not overwrite the copy that stays behind when a row moves to
        another page.
        """
        name, columns = self.kind.name, _quoted(self.kind.schema.names)
        self._connection.execute(_create(self.kind, "kept"))
        self._connection.execute(
            f'INSERT INTO kept ({columns}) SELECT {columns} FROM "{name}"'
            ' WHERE :since IS NULL OR "at" >= :since ORDER BY n',
            {"since": oldest},
        )
        self._connection.execute(f'DROP TABLE "{name}"')
        self._connection.execute(f'ALTER TABLE kept RENAME TO "{name}"')

    def _check_place(self) -> None:
        """What is written to a file without a name is lost."""
        if _identity(self._path) != self._file:
            raise SalusError(f"{self._path} was moved or replaced while it was open; start the endpoint again.")


def read(
    folder: Path, kind: JournalKind, columns: Sequence[str] | None = None, since: datetime | None = None
) -> pa.Table:
    """All items of a journal in the order of writing, the last one for each key; none where there is no folder.

    It may be written meanwhile: what is read is what was there at one moment.

    Args:
        columns: of the kind's schema; None: all.
        since: rows from before that are left out; None: none is.

    Raises:
        SalusError: it cannot be read, or is something else.
    """
    path = folder / DATABASE
    with as_sentence(path, _named(kind), "read"):
        for _ in range(_TRIES):
            # A file that went was taken over meanwhile.
            with suppress(FileNotFoundError):
                return _read(path, kind, list(columns or kind.schema.names), since)
    raise SalusError(f"The files of {folder} go again and again while they are read; read a copy of it.")


def _read(path: Path, kind: JournalKind, names: list[str], since: datetime | None) -> pa.Table:
    # Before the database: what goes from here meanwhile is in there.
    files = _parquet_files(path.parent)
    table, known = kind.schema.empty_table(), set[str]()
    if path.exists():
        with reading(path, _MARK) as connection:
            if connection is not None:
                _check_kind(connection, path, kind)
                known = _taken_over(connection)
                former = [file for file in files if file.name not in known]
                table = _rows(connection, path, kind, kind.schema.names if former else names, since)
    former = [file for file in files if file.name not in known]
    if former:
        table = _latest([table, *(_read_parquet(file, kind) for file in former)], kind)
        if since is not None:
            table = table.filter(pc.greater_equal(table["at"], pa.scalar(since, table["at"].type)))
    return table.select(names)


def _rows(
    connection: sqlite3.Connection, path: Path, kind: JournalKind, names: list[str], since: datetime | None
) -> pa.Table:
    schema = pa.schema([kind.schema.field(name) for name in names])
    rows = connection.execute(
        f'SELECT {_quoted(names)} FROM "{kind.name}" WHERE :since IS NULL OR "at" >= :since ORDER BY n',
        {"since": _plain(since) if since is not None else None},
    )
    batches = []
    while some := rows.fetchmany(_AT_ONCE):
        columns = zip(*some, strict=True)
        try:
            arrays = [_arrow_column(column, field) for column, field in zip(columns, schema, strict=True)]
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise SalusError(f"{path} is damaged, or not {_named(kind)} ({error}); take it from a copy.") from error
        batches.append(pa.RecordBatch.from_arrays(arrays, schema=schema))
    return pa.Table.from_batches(batches, schema)


def _named(kind: JournalKind) -> str:
    return f"a journal of {kind.name}"


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _create(kind: JournalKind, table: str) -> str:
    """The statement that makes a table of a kind's rows; `n` is their order."""
    columns = [
        f'"{field.name}" {_sql_type(field)}{"" if field.nullable else " NOT NULL"}'
        f"{' UNIQUE' if field.name == kind.key else ''}"
        for field in kind.schema
    ]
    return f'CREATE TABLE "{table}" (n INTEGER PRIMARY KEY, {", ".join(columns)})'


def _sql_type(field: pa.Field[Any]) -> str:
    if pa.types.is_floating(field.type):
        return "REAL"
    return "TEXT" if pa.types.is_string(field.type) else "INTEGER"


def _plain(moment: datetime) -> int:
    """A moment as the database holds it, in microseconds since the epoch."""
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def _plain_column(column: pa.ChunkedArray[Any], field: pa.Field[Any]) -> list[Any]:
    return (column.cast(pa.int64()) if pa.types.is_timestamp(field.type) else column).to_pylist()


def _arrow_column(values: Sequence[Any], field: pa.Field[Any]) -> pa.Array[Any]:
    array: pa.Array[Any] = pa.array(values, pa.int64() if pa.types.is_timestamp(field.type) else field.type)
    return array.cast(field.type)


def _check_kind(connection: sqlite3.Connection, path: Path, kind: JournalKind) -> None:
    found = [name for _, name, *_ in connection.execute(f'PRAGMA table_info("{kind.name}")')]
    if found != ["n", *kind.schema.names]:
        raise SalusError(f"{path} is a journal, but not one of {kind.name}; name the folder that holds that one.")


def _taken_over(connection: sqlite3.Connection) -> set[str]:
    return {name for (name,) in connection.execute("SELECT name FROM taken_over")}


def _identity(path: Path) -> tuple[int, int] | None:
    with suppress(FileNotFoundError, NotADirectoryError):
        found = path.stat()
        return found.st_dev, found.st_ino
    return None


def _parquet_files(folder: Path) -> list[Path]:
    """The files of an earlier version, in the order in which they were written."""
    with suppress(FileNotFoundError):
        return [folder / name for name in sorted(os.listdir(folder)) if _PARQUET.fullmatch(name)]
    return []


def _read_parquet(path: Path, kind: JournalKind) -> pa.Table:
    """One file's rows. Raises SalusError where it is none of this kind; FileNotFoundError passes through."""
    try:
        with path.open("rb") as file:
            return pq.read_table(file).select(kind.schema.names).cast(kind.schema)
    except (pa.ArrowInvalid, KeyError) as error:
        raise SalusError(f"{path} is no file of a journal of {kind.name} ({error}); take it from a copy.") from error


def _latest(tables: Sequence[pa.Table], kind: JournalKind) -> pa.Table:
    """The rows of tables in their order, of those with the same key the last one alone."""
    table = pa.concat_tables(tables)
    numbered = table.select([kind.key]).append_column("row", pa.array(np.arange(table.num_rows)))
    last = numbered.group_by(kind.key).aggregate([("row", "max")])["row_max"].to_numpy()
    return table.take(pa.array(np.sort(last)))


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

    async def close(self) -> None:
        """Let what waits be written, and close the journal."""
        if self._commits is not None:
            await asyncio.wait({self._commits})
        self._journal.close()

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


_DAY_S = 86_400.0
_SOON_S = 60.0


class Retention:
    """Removes what is too old from journals, at least once a day."""

    def __init__(self, journals: Sequence[Journal], config: FeedbackConfig, clock: Clock) -> None:
        self._journals = tuple(journals)
        self._days = config.retention_days
        self._clock = clock
        self._again_s = 0.0

    @property
    def due(self) -> bool:
        return time.monotonic() > self._again_s

    def expire(self) -> None:
        """Raises as `Journal.expire` does; it is due again in a minute where something could not go."""
        keep_from = self._clock() - timedelta(days=self._days) if self._days is not None else None
        # Noted first: where it fails, it is not tried again with every item.
        self._again_s = time.monotonic() + _SOON_S
        if all([journal.expire(keep_from) for journal in self._journals]):
            self._again_s = time.monotonic() + _DAY_S
        else:
            _log.warning("What expired is in a journal's log until the reader that needs it has ended.")
