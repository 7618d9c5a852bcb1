"""The one writer of a feedback folder, with an index of the answers it has captured, and a limit on each day.

Life: lock -> expire -> index from the journals -> keep items, expiring now and then -> end. It may die at any moment:
what it acknowledged is on disk, and the next one begins from there.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections import Counter
from datetime import date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from actors.contract.records import Record
from actors.files.one_writer import only_writer
from actors.serve.feedback.config import FeedbackConfig
from actors.serve.feedback.journal import Journal, JournalWriter, Retention, read
from actors.serve.feedback.records import CAPTURES, FEEDBACK, CapturedAnswer, Clock, Feedback, JournalKind, utc_now
from actors.serve.feedback.sink import AnotherCallers, KnownAnswer, OverQuota


class DailyQuota:
    """Counts the bytes of each caller's items on the present day (UTC). It belongs to one event loop."""

    def __init__(self, bytes_per_day: int | None, clock: Clock) -> None:
        """`bytes_per_day`: None: any number."""
        self._most = bytes_per_day
        self._clock = clock
        self._day = date.min
        self._used: Counter[str] = Counter()

    def take(self, caller: str, item: Record) -> None:
        """Count an item that is about to be kept.

        Raises:
            OverQuota: it would be too much for today, and is not counted.
        """
        self._turn()
        size = len(item.model_dump_json().encode())
        if self._most is not None and self._used[caller] + size > self._most:
            raise OverQuota(
                f"The key {caller} may have {self._most} bytes of answers and feedback kept a day; go on tomorrow"
                " (UTC), or raise feedback.bytes_per_day."
            )
        self._used[caller] += size

    def recount(self, journal: Path, kind: JournalKind) -> None:
        """Count what a journal's folder holds of today, as after a restart. Raises as `read` does."""
        self._turn()
        midnight = datetime.combine(self._day, datetime.min.time(), tzinfo=self._clock().tzinfo)
        today = read(journal, kind, since=midnight)
        texts = [name for name in today.column_names if pa.types.is_string(today.schema.field(name).type)]
        sizes = [pc.fill_null(pc.binary_length(today[name]), 0).to_pylist() for name in texts]
        for caller, *lengths in zip(today["caller"].to_pylist(), *sizes, strict=True):
            self._used[str(caller)] += sum(lengths)

    def _turn(self) -> None:
        if (day := self._clock().date()) != self._day:
            self._day = day
            self._used.clear()


_log = logging.getLogger(__name__)


class FeedbackWriter:
    """Keeps captured answers and feedback; see `FeedbackSink`."""

    def __init__(self, folder: Path, config: FeedbackConfig, clock: Clock = utc_now, lock_wait_s: float = 10.0) -> None:
        # Open as long as the writer lives: that is the lock.
        self._lock = only_writer(folder, lock_wait_s, "feedback", "feedback.folder")
        journals = {kind.name: Journal(folder / kind.name, kind) for kind in (CAPTURES, FEEDBACK)}
        self._writers = {name: JournalWriter(journal, config.gather_s) for name, journal in journals.items()}
        self._expiring: asyncio.Task[None] | None = None
        self._retention = Retention(tuple(journals.values()), config, clock)
        self._retention.expire()
        self._quota = DailyQuota(config.bytes_per_day, clock)
        for kind in (CAPTURES, FEEDBACK):
            self._quota.recount(folder / kind.name, kind)
        self._index = _index(folder / CAPTURES.name)
        # Ids that are being written, and whose they are.
        self._arriving: dict[str, str] = {}

    async def captured(self, answer: CapturedAnswer) -> None:
        known = self._index.get(answer.answer_id)
        owner = known[0] if known is not None else self._arriving.get(answer.answer_id)
        if owner not in (None, answer.caller):
            raise AnotherCallers(f"The answer {answer.answer_id[:200]!r} is another caller's, and is not kept again.")
        # Handed over again after this writer has died, or a second answer under one id: the first one stays.
        if known is not None:
            return
        self._quota.take(answer.caller, answer)
        self._arriving[answer.answer_id] = answer.caller
        try:
            await self._writers[CAPTURES.name].append(answer)
            self._index[answer.answer_id] = (sys.intern(answer.caller), sys.intern(answer.policy))
        finally:
            self._arriving.pop(answer.answer_id, None)
        self._expire_in_time()

    async def feedback(self, item: Feedback) -> None:
        self._quota.take(item.caller, item)
        await self._writers[FEEDBACK.name].append(item)
        self._expire_in_time()

    async def known(self, answer_id: str) -> KnownAnswer | None:
        found = self._index.get(answer_id)
        return KnownAnswer(caller=found[0], policy=found[1]) if found is not None else None

    async def close(self) -> None:
        """Let another one have the folder; what is being written or removed is done first."""
        if self._expiring is not None:
            await asyncio.wait({self._expiring})
        for writer in self._writers.values():
            await writer.close()
        self._lock.close()

    def _expire_in_time(self) -> None:
        running = self._expiring is not None and not self._expiring.done()
        if not running and self._retention.due:
            self._expiring = asyncio.create_task(asyncio.to_thread(self._retention.expire))
            self._expiring.add_done_callback(_log_fault)


def _log_fault(expiring: asyncio.Task[None]) -> None:
    error = None if expiring.cancelled() else expiring.exception()
    if error is not None:
        _log.error("What is too old could not be removed from the journals of feedback: %s", error)


def _index(folder: Path) -> dict[str, tuple[str, str]]:
    """Caller and policy of every captured answer."""
    columns = read(folder, CAPTURES, ("answer_id", "caller", "policy")).to_pydict().values()
    rows = zip(*columns, strict=True)
    return {answer_id: (sys.intern(caller), sys.intern(policy)) for answer_id, caller, policy in rows}
