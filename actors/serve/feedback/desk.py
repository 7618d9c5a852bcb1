"""The desk: the one writer of a feedback folder, with an index of the answers it has captured.

Life: lock -> merge and expire -> index from the journals -> keep items, merging now and then -> end. It may die at any
moment: what it acknowledged is on disk, and the next one begins from there.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, TypeVar

import ray
from ray.exceptions import RayError

from actors.errors import SalusError, own_error
from actors.serve.feedback.capture import Clock, utc_now
from actors.serve.feedback.config import FeedbackConfig
from actors.serve.feedback.journal import Journal, list_files, read_file
from actors.serve.feedback.journal_writer import JournalWriter
from actors.serve.feedback.quota import DailyQuota
from actors.serve.feedback.records import CAPTURES, FEEDBACK, CapturedAnswer, Feedback
from actors.serve.feedback.sink import AnotherCallers, KnownAnswer
from actors.serve.feedback.upkeep import Upkeep, only_writer

Kept = TypeVar("Kept")
_log = logging.getLogger(__name__)


class FeedbackDesk:
    """Keeps captured answers and feedback; see `FeedbackSink`."""

    def __init__(self, folder: Path, config: FeedbackConfig, clock: Clock = utc_now, lock_wait_s: float = 10.0) -> None:
        # Open as long as the desk lives: that is the lock.
        self._lock = only_writer(folder, lock_wait_s, "feedback", "feedback.folder")
        self._journals = {kind.name: Journal(folder / kind.name, kind) for kind in (CAPTURES, FEEDBACK)}
        self._writers = {name: JournalWriter(journal, config.gather_s) for name, journal in self._journals.items()}
        self._merging: asyncio.Task[None] | None = None
        self._upkeep = Upkeep(tuple(self._journals.values()), config, clock)
        self._upkeep.merge()
        self._quota = DailyQuota(config.bytes_per_day, clock)
        self._index = _index(folder / CAPTURES.name, self._quota)
        for file in list_files(folder / FEEDBACK.name):
            self._quota.kept(read_file(file, FEEDBACK))
        # Ids that are being written, and whose they are.
        self._arriving: dict[str, str] = {}

    async def captured(self, answer: CapturedAnswer) -> None:
        known = self._index.get(answer.answer_id)
        owner = known[0] if known is not None else self._arriving.get(answer.answer_id)
        if owner not in (None, answer.caller):
            raise AnotherCallers(f"The answer {answer.answer_id[:200]!r} is another caller's, and is not kept again.")
        # Handed over again after this desk has died, or a second answer under one id: the first one stays.
        if known is not None:
            return
        self._quota.take(answer.caller, answer)
        self._arriving[answer.answer_id] = answer.caller
        try:
            await self._writers[CAPTURES.name].append(answer)
            self._index[answer.answer_id] = (sys.intern(answer.caller), sys.intern(answer.policy))
        finally:
            self._arriving.pop(answer.answer_id, None)
        self._merge_in_time()

    async def feedback(self, item: Feedback) -> None:
        self._quota.take(item.caller, item)
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
        if not running and self._upkeep.due:
            self._merging = asyncio.create_task(asyncio.to_thread(self._upkeep.merge))
            self._merging.add_done_callback(_log_fault)


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


def _index(folder: Path, quota: DailyQuota) -> dict[str, tuple[str, str]]:
    """Caller and policy of every captured answer, a file at a time; `quota` counts today's."""
    index: dict[str, tuple[str, str]] = {}
    for file in list_files(folder):
        whole = read_file(file, CAPTURES)
        quota.kept(whole)
        table = whole.select(["answer_id", "caller", "policy"])
        for answer_id, caller, policy in zip(*(column.to_pylist() for column in table.columns), strict=True):
            index[answer_id] = (sys.intern(caller), sys.intern(policy))
    return index
