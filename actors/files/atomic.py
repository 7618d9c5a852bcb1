"""Files that survive a crash and a power cut: files replaced and log lines appended, on disk before a call returns.

Everything Salus keeps goes through `replacing` (and `write_atomically`, which uses it) or through `appending` (and
`append_line`). A folder that another program filled gets its final name through `move_into_place`.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from actors.errors import SalusError
from actors.files.full_disk import disk_of
from actors.files.job_copy import check_kept

# The mode of a new file whose readers are not given: its owner alone.
PRIVATE = 0o600
WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH
# The name of a file that is not whole yet; earlier versions took decimal digits, which are hexadecimal ones too.
TEMPORARY = re.compile(r"\..+\.[0-9a-f]+\.tmp")
_GROUP = stat.S_IRGRP | stat.S_IWGRP
_ANY = 0o666
_BLOCK_BYTES = 64 * 1024
# Some network file systems cannot sync a folder; they write names through.
_CANNOT_SYNC = (errno.EINVAL, errno.ENOTSUP)
_NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK)


@contextmanager
def replacing(path: Path, mode: int | None = None, sync: bool = True) -> Iterator[BinaryIO]:
    """A new file that takes the place of `path` when the block ends; a block that fails leaves `path` as it was.

    Args:
        path: its folder is made where there is none.
        mode: permissions of the file; None: those the umask leaves.
        sync: whether it is on disk at the end; False for what no one needs after a crash.

    Raises:
        FullDiskError: the disk or a quota is full.
        SalusError: Ray deletes its folder after the job.
        OSError: it cannot be written; names `path`.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    with _told(path):
        make_folder(path.parent)
        try:
            with open(os.open(temporary, _WRITE_NEW, PRIVATE if mode is not None else _ANY), "wb") as file:
                yield file
                file.flush()
                if mode is not None:
                    os.fchmod(file.fileno(), mode)
                if sync:
                    os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise
        if sync:
            sync_folder(path.parent)


def write_atomically(path: Path, content: bytes, mode: int | None = None, sync: bool = True) -> None:
    """Make `path` hold `content`, whole or not at all. Arguments and errors are those of `replacing`."""
    with replacing(path, mode, sync) as file:
        file.write(content)


def create(path: Path, content: bytes, mode: int = _ANY) -> bool:
    """Make a file of which there is none; False where there is one.

    A crash may leave it with a part of its content. Of several processes one succeeds. Raises as `replacing` does.

    Args:
        mode: permissions of the file, less those that the umask takes.
    """
    with _told(path):
        make_folder(path.parent)
        try:
            descriptor = os.open(path, _WRITE_NEW, mode)
        except FileExistsError:
            return False
        try:
            _write(descriptor, content)
            os.fsync(descriptor)
        except BaseException:
            with suppress(OSError):
                os.unlink(path)
            raise
        finally:
            os.close(descriptor)
        sync_folder(path.parent)
    return True


class Log:
    """An open log of lines; made by `appending` or `reading`. What follows its last line break is no part of it."""

    def __init__(self, descriptor: int, path: Path) -> None:
        self._descriptor = descriptor
        self._path = path

    @property
    def size(self) -> int:
        """Bytes of its whole lines."""
        end = os.fstat(self._descriptor).st_size
        while end:
            start = max(0, end - _BLOCK_BYTES)
            found = os.pread(self._descriptor, end - start, start).rfind(b"\n")
            if found >= 0:
                return start + found + 1
            end = start
        return 0

    def read(self, start: int = 0) -> bytes:
        """Its whole lines from byte `start` on."""
        size = self.size
        return os.pread(self._descriptor, size - start, start) if start < size else b""

    def append(self, line: bytes) -> None:
        """Append a line, given without its line break; half a line that a crash left before it is cut off.

        Raises:
            FullDiskError: the disk or a quota is full; nothing of the line stays.
            OSError: the log cannot be written; nothing of the line stays.
        """
        if b"\n" in line:
            raise ValueError("a line of a log holds a line break")
        end = self.size
        with _told(self._path):
            try:
                if os.fstat(self._descriptor).st_size != end:
                    os.ftruncate(self._descriptor, end)
                _write(self._descriptor, line + b"\n")
                os.fsync(self._descriptor)
            except OSError:
                with suppress(OSError):
                    os.ftruncate(self._descriptor, end)
                raise


@contextmanager
def appending(path: Path) -> Iterator[Log]:
    """The log at `path` for reading and appending, under its lock: one process at a time has it.

    A new log is private to its owner, and to the group of a folder that this group shares.

    Raises:
        SalusError: the file system has no locks; or as `replacing` raises.
    """
    with _told(path):
        make_folder(path.parent)
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, PRIVATE)
    try:
        with _told(path):
            _lock(descriptor, path)
            if not os.fstat(descriptor).st_size:
                _share(descriptor, path.parent)
                sync_folder(path.parent)
        yield Log(descriptor, path)
    finally:
        os.close(descriptor)


def append_line(path: Path, line: bytes) -> None:
    """Append one line to a log, made where there is none. Raises as `Log.append` does."""
    with appending(path) as log:
        log.append(line)


@contextmanager
def reading(path: Path) -> Iterator[Log]:
    """The log at `path` for reading, without its lock. FileNotFoundError where there is none."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield Log(descriptor, path)
    finally:
        os.close(descriptor)


def log_lines(content: bytes) -> list[bytes]:
    """The whole lines of a log, without line breaks; the half line that a crash left at the end is passed over."""
    # Not splitlines: a text inside a line may hold characters that it takes for ends of lines.
    return content.split(b"\n")[:-1]


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock beside `path`: of a file that gets replaced, a lock on itself would be one on the former file.

    Raises:
        SalusError: the file system has no locks.
    """
    descriptor = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE)
    try:
        # The lock of another member of the group is not this process's to share.
        with suppress(PermissionError):
            _share(descriptor, path.parent)
        _lock(descriptor, path)
        yield
    finally:
        os.close(descriptor)


def make_folder(folder: Path, mode: int = 0o777) -> None:
    """Make a folder and those above it, on disk; one that is there is left. OSError passes through.

    Args:
        mode: permissions of the folder itself, less those that the umask takes.

    Raises:
        SalusError: Ray deletes the folder after its job.
    """
    check_kept(folder)
    if folder.is_dir():
        return
    make_folder(folder.parent)
    with suppress(FileExistsError):
        os.mkdir(folder, mode)
    sync_folder(folder.parent)


def move_into_place(made: Path, target: Path) -> None:
    """Give a file or folder its final name, with all it holds on disk before that. Raises as `replacing` does."""
    with _told(target):
        sync_tree(made)
        os.replace(made, target)
        sync_folder(target.parent)


def sync_tree(made: Path) -> None:
    """Wait until a file, or a folder with all that is in it, is on disk, whatever its name. OSError passes through."""
    if made.is_file():
        _sync(made)
    for folder, _, names in os.walk(made):
        for name in names:
            _sync(Path(folder, name))
        sync_folder(Path(folder))


def remove(path: Path) -> None:
    """Remove a file, on disk; one that is not there is no fault. OSError passes through."""
    with suppress(FileNotFoundError):
        os.unlink(path)
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on disk. OSError passes through."""
    try:
        _sync(folder)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise


_WRITE_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


def _lock(descriptor: int, path: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        raise SalusError(
            f"The file system of {path} has no file locks ({os.strerror(error.errno)}); mount it with them (Lustre: the"
            " option flock), or keep the folder on another one."
        ) from error


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write(descriptor: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _share(descriptor: int, folder: Path) -> None:
    """Let the group that may write into the folder, and so replace the file, write into it too."""
    if folder.stat().st_mode & WRITABLE_BY_OTHERS == stat.S_IWGRP:
        os.fchmod(descriptor, PRIVATE | _GROUP)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """A full disk as its sentence; any other OSError names the file, which one that failed half-way does not."""
    with disk_of(path.parent):
        try:
            yield
        except OSError as error:
            if error.errno is not None and error.filename is None:
                error.filename = str(path)
            raise
