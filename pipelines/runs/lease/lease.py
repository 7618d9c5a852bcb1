"""A lease on a folder: one process at a time writes there, and a lease whose holder is dead is taken over.

taken -> beats -> given back | lost

A lease is stale at once where its holder ran here and is gone. Elsewhere it is stale when its last beat is older than
the limit and no beat is seen while it is watched. Clocks of two hosts may differ, and a machine that slept wakes up.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from actors.errors import SalusError
from actors.files.full_disk import FullDiskError, full_disk
from pipelines.runs.lease.files import LeaseFiles, LeaseRecord
from pipelines.runs.lease.process import has_ended, this_process

BEAT_S = 3.0
# How long a stale lease is watched before it is taken over.
_WATCHED_BEATS = 3


class Leases(Protocol):
    """The numbered leases of one folder, on disk or in a store; OSError passes through."""

    @property
    def root(self) -> object:
        """The folder, as sentences name it."""

    def last(self) -> LeaseRecord | None:
        """The lease that holds; None where the folder was never held."""

    def add(self, record: LeaseRecord) -> bool:
        """Take a lease that is to be the last; False where another process was quicker."""

    def write(self, record: LeaseRecord) -> None:
        """Write a lease anew; for its holder alone."""


class Lease:
    """A lease that this process took; `hold` makes one and lets its heart beat."""

    def __init__(self, files: Leases, record: LeaseRecord, lease_s: float, beat_s: float) -> None:
        self._files, self._record = files, record
        self._lease_s, self._beat_s = lease_s, beat_s
        self._lock = threading.Lock()
        self._lost = False
        self._ended = threading.Event()
        self._heart = threading.Thread(target=self._beat_on, name="lease", daemon=True)

    @property
    def number(self) -> int:
        """Of the lease; no other lease of the folder has it."""
        return self._record.number

    @property
    def lost(self) -> bool:
        """Whether the folder has, or may have, another holder by now; looks at the disk."""
        with self._lock:
            # A file system that does not answer now says nothing of the lease.
            with contextlib.suppress(OSError):
                self._lost = self._lost or not self._is_last()
            return self._lost

    def check(self) -> None:
        """Go on only while the folder is this process's own.

        Raises:
            SalusError: another process took the lease over, or it was removed.
        """
        if self.lost:
            raise SalusError(_farewell(self._files, self._record, self._lease_s))

    def start(self) -> None:
        """Let it beat."""
        self._heart.start()

    def give_back(self) -> None:
        """End the beat, and let the next one in unless it came by itself."""
        self._ended.set()
        self._heart.join()
        if not self.lost:
            # If that fails: this process will soon have ended, which frees the lease too.
            with contextlib.suppress(OSError, FullDiskError):
                self._write(given_back=True)

    def _beat_on(self) -> None:
        while not self._ended.wait(self._beat_s):
            if self.lost:
                return
            # The next beat may go through; if none does, the lease ages as it should.
            with contextlib.suppress(OSError, FullDiskError):
                self._write(beat_at=datetime.now(UTC))

    def _is_last(self) -> bool:
        last = self._files.last()
        return last is not None and last.holder == self._record.holder

    def _write(self, **changes: datetime | bool) -> None:
        self._record = self._record.model_copy(update=changes)
        self._files.write(self._record)


@contextmanager
def hold(root: Path, lease_s: float, say: Callable[[str], None], beat_s: float = BEAT_S) -> Iterator[Lease]:
    """Hold a folder's lease; the folder is made where there is none.

    Args:
        lease_s: the age of a last beat from which on a lease may be stale.
        say: told when another's lease is watched or taken over.
        beat_s: between two beats.

    Raises:
        SalusError: a living process holds it, or this account cannot write there.
    """
    with hold_lease(LeaseFiles(root), lease_s, say, beat_s) as lease:
        yield lease


@contextmanager
def hold_lease(files: Leases, lease_s: float, say: Callable[[str], None], beat_s: float = BEAT_S) -> Iterator[Lease]:
    """The same for a folder whose leases are elsewhere. Raises as `hold` does."""
    try:
        record = _take(files, lease_s, say, beat_s)
    except OSError as error:
        raise full_disk(error) or SalusError(
            f"Cannot take the lease of {files.root} ({error.strerror or error}); let this account write there, or"
            " give another folder with --run."
        ) from error
    lease = Lease(files, record, lease_s, beat_s)
    lease.start()
    try:
        yield lease
    finally:
        lease.give_back()


def _take(files: Leases, lease_s: float, say: Callable[[str], None], beat_s: float) -> LeaseRecord:
    """The folder's next lease. Of several processes that find the last one stale, one gets here and the rest look
    again, at the lease of that one.
    """
    while True:
        last = files.last()
        dead = last is not None and _is_dead(files, last, lease_s, say, beat_s)
        now = datetime.now(UTC)
        number = last.number + 1 if last is not None else 1
        mine = LeaseRecord(number=number, holder=this_process(), taken_at=now, beat_at=now)
        if files.add(mine):
            if last is not None and dead:
                say(f"took over {files.root} from {_words(last)}, which has ended or gives no sign of life")
            return mine


def _is_dead(files: Leases, last: LeaseRecord, lease_s: float, say: Callable[[str], None], beat_s: float) -> bool:
    """Whether a lease's holder is gone without having given it back; refuses where it lives."""
    if last.given_back:
        return False
    if last.holder is not None and has_ended(last.holder):
        return True
    # A beat of the future is one of another clock.
    if abs(_age_s(last)) > lease_s:
        watch_s = _WATCHED_BEATS * beat_s
        say(
            f"last sign of life of {_words(last)} in {files.root}: {_time(last.beat_at)}; watching it for {watch_s:g} s"
        )
        time.sleep(watch_s)
        seen = files.last()
        if seen == last:
            return True
        if seen is None or seen.given_back:
            return False
        last = seen
    raise SalusError(
        f"{files.root} is in use by {_words(last)}, since {_time(last.taken_at)} (last sign of life"
        f" {_time(last.beat_at)}). Wait for its end, stop it and run the same command again, or give another folder"
        " with --run."
    )


def _farewell(files: Leases, mine: LeaseRecord, lease_s: float) -> str:
    try:
        last = files.last()
    except OSError:
        last = None
    if last is None or last.holder == mine.holder:
        return f"The lease of {files.root} was removed, so this process stops; run the same command again to go on."
    return (
        f"{files.root} was taken over by {_words(last)} at {_time(last.taken_at)}, as this process gave no sign of life"
        f" for more than {lease_s:g} s (it or its disk was paused). It stops and leaves the folder to that one, whose"
        " progress salus status tells; raise cluster.lease_s if this happens again."
    )


def _words(record: LeaseRecord) -> str:
    return record.holder.words if record.holder is not None else "a process that left no readable lease"


def _age_s(record: LeaseRecord) -> float:
    return (datetime.now(UTC) - record.beat_at).total_seconds()


def _time(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
