"""The private folder of one Salus that started Ray: Ray's files, HAProxy's, sockets and everything temporary.

```
TMPDIR/salus-UID/           0700, of this user
  XXXXX/                    one session; removed at its end
    lock                    held while the session lives, so that a killed one is known
    ray/  h/  tmp/          Ray's session, HAProxy's files, TMPDIR of Ray's processes
```
"""

from __future__ import annotations

import fcntl
import os
import secrets
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from actors.errors import SalusError
from actors.files import leftovers
from actors.files.leftovers import end_session, processes_of

# A path of a Unix socket has at most 107 bytes; Ray's longest is 71 bytes longer than the folder.
LONGEST_FOLDER = 36
_NAME_BYTES = 5
_LOCK = "lock"
_PRIVATE = 0o700


class SessionFolder:
    """The folders of one session."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.ray = root / "ray"
        # Short: HAProxy's sockets have long names.
        self.haproxy = root / "h"
        self.temporary = root / "tmp"


@contextmanager
def session_folder() -> Iterator[SessionFolder]:
    """A new folder for one session; at the end its processes are ended and it is removed.

    That also happens, by a process that only waits for it, where this process is killed. Folders and processes of
    sessions that have ended in another way, as by a power cut, are removed first.

    Raises:
        SalusError: there is no place for such a folder, or it belongs to another user.
    """
    base = _base()
    with _locked(base / _LOCK):
        _remove_ended(base)
        folder = SessionFolder(base / _new_name(base))
        folder.root.mkdir(_PRIVATE)
        for each in (folder.ray, folder.haproxy, folder.temporary):
            each.mkdir(_PRIVATE)
        # Not to write: a child that inherits it does not write to the session's files.
        lock = os.open(folder.root / _LOCK, os.O_RDONLY | os.O_CREAT, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
    watcher = _watcher(folder.root)
    try:
        yield folder
    finally:
        end_session(folder.root)
        assert watcher.stdin is not None
        watcher.stdin.close()
        watcher.wait()
        os.close(lock)


def end_left_sessions() -> list[int]:
    """End what sessions of this user that were killed left behind; the ids of the processes that still ran.

    Raises:
        SalusError: as `session_folder`.
    """
    base = _base()
    with _locked(base / _LOCK):
        return _remove_ended(base)


def private_folder(path: Path) -> Path:
    """Make `path`, or accept it if it is a folder of this user that is closed to all others.

    Raises:
        SalusError: it is something else, or cannot be made.
    """
    try:
        with suppress(FileExistsError):
            path.mkdir(_PRIVATE)
        there = path.lstat()
    except OSError as error:
        raise SalusError(
            f"The private folder {path} cannot be made ({error.strerror or error}); set TMPDIR to a folder that you may"
            " write to."
        ) from error
    if not stat.S_ISDIR(there.st_mode):
        raise SalusError(f"{path} is not a folder, so it cannot hold private files; remove it or set TMPDIR.")
    if there.st_uid != os.geteuid():
        raise SalusError(
            f"The folder {path} belongs to another user (uid {there.st_uid}), who could read and replace files in it."
            " Set TMPDIR to a folder of your own, or have it removed."
        )
    if stat.S_IMODE(there.st_mode) & 0o077:
        raise SalusError(
            f"The folder {path} is open to other users (mode {stat.S_IMODE(there.st_mode):o}); look at what is in it"
            f" and close it: chmod 700 {path}."
        )
    return path


def _base() -> Path:
    name = f"salus-{os.geteuid()}"
    places = [Path(tempfile.gettempdir()).absolute(), Path("/tmp")]
    for place in places:
        # With the session's own name and the slash before it.
        if len(os.fsencode(place / name)) + 1 + _NAME_BYTES <= LONGEST_FOLDER and place.is_dir():
            return private_folder(place / name)
    raise SalusError(
        f"The temporary folder {places[0]} has too long a name for the sockets of Ray, and there is no /tmp. Set TMPDIR"
        f" to a folder whose name has at most {LONGEST_FOLDER - len(name) - _NAME_BYTES - 2} bytes."
    )


def _new_name(base: Path) -> str:
    while (base / (name := secrets.token_hex(3)[:_NAME_BYTES])).exists():
        pass
    return name


def _remove_ended(base: Path) -> list[int]:
    ran: list[int] = []
    for folder in base.iterdir():
        if folder.is_dir() and not folder.is_symlink() and not _lives(folder):
            ran += processes_of(folder)
            end_session(folder, grace_s=0.0)
    return ran


def _lives(folder: Path) -> bool:
    """Whether the process that made a session's folder holds its lock still."""
    try:
        lock = os.open(folder / _LOCK, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _watcher(folder: Path) -> subprocess.Popen[bytes]:
    """A process that ends the session when this one is gone; it must not be told to end with the terminal's others."""
    return subprocess.Popen(
        [sys.executable, "-I", "-S", str(leftovers.__file__), str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        cwd="/",
    )
