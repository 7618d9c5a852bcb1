"""Small files that must survive a crash: lines appended, or a whole file replaced, on disk before the call returns."""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

# Who may read such a file where nobody has said otherwise: its owner.
PRIVATE = 0o600
WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


@contextmanager
def appending(path: Path) -> Iterator[BinaryIO]:
    """`path` open for reading and appending, made private where it is new, under a lock. OSError passes through."""
    new = not path.exists()
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, PRIVATE)
    with open(descriptor, "r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if new:
            sync_folder(path.parent)
        yield file


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock beside `path`: of a file that gets replaced, a lock on itself would be one on the former file."""
    descriptor = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT, PRIVATE)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def append_line(file: BinaryIO, line: bytes) -> None:
    """Append a line and wait for the disk; half a line that a crash left is ended first."""
    end = file.seek(0, os.SEEK_END)
    torn = False
    if end:
        file.seek(end - 1)
        torn = file.read(1) != b"\n"
    file.write((b"\n" if torn else b"") + line + b"\n")
    file.flush()
    os.fsync(file.fileno())


def replace_text(path: Path, text: str) -> None:
    """Replace a file that is there, atomically; it keeps its mode, but others lose the right to write."""
    mode = stat.S_IMODE(path.stat().st_mode) & ~WRITABLE_BY_OTHERS
    made = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE), "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        made.replace(path)
    finally:
        made.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
