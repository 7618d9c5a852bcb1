"""SQLite databases: private from the first moment, durable, one program that writes and any number that read.

A database is kept with a write-ahead log (WAL): readers and the writer never wait for each other. The log's index is
memory that all of them share, so it needs a file system of this machine. On any other one, such as NFS, the database
is kept with a rollback journal, which needs file locks alone. That is slower, and a reader may wait for a commit.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import psutil

from actors.errors import SalusError
from actors.files.atomic import PRIVATE, create, make_folder
from actors.files.full_disk import disk_of

PRIVATE_FOLDER = 0o700
# File systems whose files' memory all processes of the machine share; of any other one that is not known.
_LOCAL = frozenset(
    {
        "apfs", "bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "hfs", "jfs", "overlay", "ramfs", "tmpfs", "ufs",
        "xfs", "zfs",
    }
)  # fmt: skip
# Longest wait for another connection's lock, and for readers that still need what was erased.
_BUSY_S = 10.0
_ERASING_S = 1.0
# Of a new database. Room for several conversations: one that fills half a page has the rest of it empty.
_PAGE_BYTES = 16_384
_DAMAGED = ("SQLITE_NOTADB", "SQLITE_CORRUPT")


def open_writer(path: Path, mark: int) -> sqlite3.Connection:
    """A connection that writes; any thread may use it, one at a time, and begins its transactions itself.

    The file, and those that SQLite makes beside it, are the user's alone, and so is their folder. What is committed is
    on disk. What is deleted is overwritten.

    Args:
        path: made where there is no file.
        mark: the number (`PRAGMA application_id`) that tells this kind of database from all others; the caller sets it
            with the first table.

    Raises:
        SalusError: the database has another mark, or its file system can keep none.
        sqlite3.Error, OSError: it cannot be opened; see `as_sentence`.
    """
    make_folder(path.parent, PRIVATE_FOLDER)
    create(path, b"", PRIVATE)
    # One that an earlier version, or a copy, left open to others; that of another user is not this one's to close.
    with suppress(PermissionError):
        path.parent.chmod(PRIVATE_FOLDER)
        path.chmod(PRIVATE)
    connection = _connect(path, "mode=rw")
    try:
        is_marked(connection, path, mark)
        connection.execute(f"PRAGMA page_size={_PAGE_BYTES}")
        wanted = "wal" if shares_memory(path.parent) else "delete"
        (mode,) = connection.execute(f"PRAGMA journal_mode={wanted}").fetchone()
        if mode != wanted:
            raise SalusError(f"The file system of {path} keeps no SQLite database; name a folder on another one.")
        # As FULL, and the folder is synced when a rollback journal is removed.
        connection.execute("PRAGMA synchronous=EXTRA")
        connection.execute("PRAGMA secure_delete=ON")
        # No text may get into files outside the folder.
        connection.execute("PRAGMA temp_store=MEMORY")
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def reading(path: Path, mark: int) -> Iterator[sqlite3.Connection | None]:
    """A read-only connection in one transaction; None where nothing was committed yet. Raises as `open_writer` does."""
    with closing(_connect_reader(path)) as connection:
        connection.execute("BEGIN")
        yield connection if is_marked(connection, path, mark) else None


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All that is written inside is on disk at the end, or none of it is written."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # Some faults have ended it already.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def empty_log(connection: sqlite3.Connection) -> bool:
    """Move the write-ahead log into the database and cut it to nothing; False where a reader needs it for longer."""
    connection.execute(f"PRAGMA busy_timeout={int(_ERASING_S * 1000)}")
    (busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    connection.execute(f"PRAGMA busy_timeout={int(_BUSY_S * 1000)}")
    return not busy


def is_marked(connection: sqlite3.Connection, path: Path, mark: int) -> bool:
    """Whether a database has its first tables; False where it is empty. Raises SalusError where it is another's."""
    (found,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if found != mark and (found or tables):
        raise SalusError(f"{path} is a database of another program; move it away, or name another folder.")
    return bool(tables)


@contextmanager
def as_sentence(path: Path, what: str, doing: str) -> Iterator[None]:
    """Faults of SQLite and of the file system, as sentences.

    Args:
        path: the database.
        what: what it holds, as "a journal of captures".
        doing: what fails, as "written".

    Raises:
        FullDiskError: the disk or a quota is full.
        SalusError: anything else.
    """
    try:
        with disk_of(path.parent):
            yield
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorname", "").startswith(_DAMAGED):
            raise SalusError(
                f"{path} is damaged, or not {what} ({error}); take it from a copy, or move it away."
            ) from error
        raise SalusError(f"{path} cannot be {doing} ({error}); mend that, or name another folder.") from error
    except OSError as error:
        said = error.strerror or type(error).__name__
        raise SalusError(f"{path} cannot be {doing} ({said}); mend that, or name another folder.") from error


def shares_memory(folder: Path) -> bool:
    """Whether all processes that open files of a folder run on this machine, so that they can share memory."""
    place = folder.resolve()
    mounts = [each for each in psutil.disk_partitions(all=True) if place.is_relative_to(each.mountpoint)]
    # Of several at one place the last one hides the others.
    longest = max(enumerate(mounts), key=lambda each: (len(each[1].mountpoint), each[0]), default=None)
    return longest is not None and longest[1].fstype in _LOCAL


def _connect_reader(path: Path) -> sqlite3.Connection:
    # Without a log there is nothing to share. Where files cannot be made, sharing is not possible.
    log = path.with_name(f"{path.name}-wal")
    if not os.access(path.parent, os.W_OK) and not (log.exists() and log.stat().st_size):
        return _connect(path, "immutable=1")
    connection = _connect(path, "mode=ro")
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError as error:
        connection.close()
        if not getattr(error, "sqlite_errorname", "").startswith("SQLITE_READONLY"):
            raise
        # A writer that was killed left a transaction half-way: the next to open the database undoes that.
        return _connect(path, "mode=rw")
    except BaseException:
        connection.close()
        raise
    return connection


def _connect(path: Path, how: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?{how}",
        uri=True,
        timeout=_BUSY_S,
        isolation_level=None,
        check_same_thread=False,
    )
    # Of a schema from outside nothing is run.
    connection.execute("PRAGMA trusted_schema=OFF")
    return connection
