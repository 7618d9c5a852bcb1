"""Who may read what Salus writes: its user, and the group where a folder is shared with it on purpose."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PRIVATE_UMASK = 0o077
_GROUP_FILE = stat.S_IRGRP | stat.S_IWGRP


@contextmanager
def private_files() -> Iterator[None]:
    """What this process, and each process it starts, writes inside is readable by its user alone.

    The umask belongs to the whole process, so this holds for its other threads too.
    """
    former = os.umask(PRIVATE_UMASK)
    try:
        yield
    finally:
        os.umask(former)


def make_files_private() -> None:
    """As `private_files`, until the process ends."""
    os.umask(PRIVATE_UMASK)


def share(path: Path, folder: Path) -> None:
    """Give the group that may write to `folder` the same rights to a file, or to a folder and all in it.

    Does nothing where `folder` is not the group's, nor to what belongs to another user. OSError passes through.
    """
    if not folder.stat().st_mode & stat.S_IWGRP:
        return
    for each in (path, *(path.rglob("*") if path.is_dir() else ())):
        there = each.lstat()
        if there.st_uid == os.geteuid() and not stat.S_ISLNK(there.st_mode):
            mode = stat.S_IMODE(there.st_mode)
            each.chmod(mode | _GROUP_FILE | (stat.S_IXGRP | mode & stat.S_ISGID if each.is_dir() else 0))
