"""What a folder of journals needs of its one writer: that there is no other, and that files are merged and expire."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from actors.errors import SalusError
from actors.files.atomic import make_folder
from actors.serve.feedback.capture import Clock
from actors.serve.feedback.compaction import compact
from actors.serve.feedback.config import FeedbackConfig
from actors.serve.feedback.journal import Journal

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
        """Raises as `actors.serve.feedback.compaction.compact` does; it is due again as if it had not."""
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
