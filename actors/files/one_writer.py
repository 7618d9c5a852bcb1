"""The lock of a folder that one process at a time writes to."""

from __future__ import annotations

import fcntl
import time
from pathlib import Path
from typing import Any

from actors.errors import SalusError
from actors.files.atomic import make_folder

LOCK = ".writer"
_LOOK_AGAIN_S = 0.1


def only_writer(folder: Path, wait_s: float, what: str, setting: str) -> Any:
    """The folder's lock, held while the returned file is open; `what` is kept there, by which `setting`.

    Raises:
        SalusError: another process holds it, or the folder cannot be made.
    """
    try:
        make_folder(folder)
        lock = (folder / LOCK).open("w", encoding="utf-8")
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
