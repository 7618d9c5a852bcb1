"""The desk: the one writer of a feedback folder, with an index of the answers it has captured.

Life: lock -> merge and expire -> index from the journals -> keep items, merging now and then -> end. It may die at any
moment: what it acknowledged is on disk, and the next one begins from there.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import sys
import time
from collections.abc import Awaitable
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import ray
from ray.exceptions import RayError

from actors.errors import SalusError
from actors.faults import own_error
from actors.feedback.capture import Clock, utc_now
from actors.feedback.compaction import compact
from actors.feedback.config import FeedbackConfig
from actors.feedback.journal import Journal, list_files, read_file
from actors.feedback.journal_writer import JournalWriter
from actors.feedback.records import CAPTURES, FEEDBACK, CapturedAnswer, Feedback
from actors.feedback.sink import KnownAnswer

Kept = TypeVar("Kept")
LOCK = ".writer"
_log = logging.getLogger(__name__)
_LOOK_AGAIN_S = 0.1
_DAY_S = 86_400.0


class FeedbackDesk:
    """Keeps captured answers and feedback; see `FeedbackSink`."""

    def __init__(self, folder: Path, config: FeedbackConfig, clock: Clock = utc_now, lock_wait_s: float = 10.0) -> None:
        self._config = config
        self._clock = clock
        # Open as long as the desk lives: that is the lock.
        self._lock = _only_writer(folder, lock_wait_s)
        self._journals = {kind.name: Journal(folder / kind.name, kind) for kind in (CAPTURES, FEEDBACK)}
        self._writers = {name: JournalWriter(journal, config.gather_s) for name, journal in self._journals.items()}
        self._merging: asyncio.Task[None] | None = None
        self._merge_again_s = 0.0
        self._merge()
        self._index = _index(folder / CAPTURES.name)

    async def captured(self, answer: CapturedAnswer) -> None:
        await self._writers[CAPTURES.name].append(answer)
        self._index[answer.answer_id] = (sys.intern(answer.caller), sys.intern(answer.policy))
        self._merge_in_time()

    async def feedback(self, item: Feedback) -> None:
        await self._writers[FEEDBACK.name].append(item)
        self._merge_in_time()

    async def known(self, answer_id: str) -> KnownAnswer | None:
        found = self._index.get(answer_id)
        return KnownAnswer(caller=found[0], policy=found[1]) if found is not None else None

    async def close(self) -> None:
        """Let another one have the folder; what is being merged is merged first."""
        if self._merging is not None:
            await asyncio.wait({self._merging})
        self._lock.close()

    def _merge_in_time(self) -> None:
        running = self._merging is not None and not self._merging.done()
        full = any(j.appended >= self._config.compact_files for j in self._journals.values())
        if not running and (full or time.monotonic() > self._merge_again_s):
            self._merging = asyncio.create_task(asyncio.to_thread(self._merge))
            self._merging.add_done_callback(_log_fault)

    def _merge(self) -> None:
        days = self._config.retention_days
        keep_from = self._clock() - timedelta(days=days) if days is not None else None
        # Noted first: where merging fails, it is not tried again with every item.
        self._merge_again_s = time.monotonic() + _DAY_S
        for journal in self._journals.values():
            journal.appended = 0
        for journal in self._journals.values():
            compact(journal.folder, journal.kind, keep_from)


# Built anew where it died, and asked again: every item has an id, and the last of the same one counts.
FeedbackDeskActor = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=3)(FeedbackDesk)


class RemoteSink:
    """A desk in an actor of its own, as a `FeedbackSink`."""

    def __init__(self, desk: Any, timeout_s: float) -> None:
        self._desk = desk
        self._timeout_s = timeout_s

    async def captured(self, answer: CapturedAnswer) -> None:
        await self._in_time(self._desk.captured.remote(answer))

    async def feedback(self, item: Feedback) -> None:
        await self._in_time(self._desk.feedback.remote(item))

    async def known(self, answer_id: str) -> KnownAnswer | None:
        found: KnownAnswer | None = await self._in_time(self._desk.known.remote(answer_id))
        return found

    async def _in_time(self, answer: Awaitable[Kept]) -> Kept:
        try:
            return await asyncio.wait_for(answer, self._timeout_s)
        except (RayError, TimeoutError) as error:
            # The desk's own words, without the traceback that Ray adds.
            if (said := own_error(error)) is not None:
                raise said from None
            raise SalusError(
                f"The feedback desk does not answer ({type(error).__name__}); see whether its actor is alive."
            ) from error


def _log_fault(merging: asyncio.Task[None]) -> None:
    error = None if merging.cancelled() else merging.exception()
    if error is not None:
        _log.error("The journals of feedback could not be merged, and stay as they are: %s", error)


def _only_writer(folder: Path, wait_s: float) -> Any:
    """The folder's lock, held while the returned file is open.

    Raises:
        SalusError: another desk holds it, or the folder cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / LOCK).open("w")
    except OSError as error:
        raise SalusError(f"feedback.folder {folder} cannot be used ({error.strerror}); name another one.") from error
    until = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return lock
        except BlockingIOError:
            # A desk that was killed a moment ago gives it back when its process is gone.
            if time.monotonic() > until:
                lock.close()
                raise SalusError(
                    f"Another process keeps feedback in {folder}; end it, or name another feedback.folder."
                ) from None
            time.sleep(_LOOK_AGAIN_S)


def _index(folder: Path) -> dict[str, tuple[str, str]]:
    """Caller and policy of every captured answer, a file at a time."""
    index: dict[str, tuple[str, str]] = {}
    for file in list_files(folder):
        table = read_file(file, CAPTURES).select(["answer_id", "caller", "policy"])
        for answer_id, caller, policy in zip(*(column.to_pylist() for column in table.columns), strict=True):
            index[answer_id] = (sys.intern(caller), sys.intern(policy))
    return index
