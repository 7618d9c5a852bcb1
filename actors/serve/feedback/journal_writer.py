"""Group commit: what many callers append within a few milliseconds becomes one file, acknowledged to all at once."""

from __future__ import annotations

import asyncio

from actors.contract.records import Record
from actors.serve.feedback.journal import Journal


class JournalWriter:
    """The asynchronous front of one journal; all calls come from one event loop."""

    def __init__(self, journal: Journal, gather_s: float) -> None:
        self._journal = journal
        self._gather_s = gather_s
        self._waiting: list[tuple[Record, asyncio.Future[None]]] = []
        self._commits: asyncio.Task[None] | None = None

    async def append(self, item: Record) -> None:
        """Return when the item is durable.

        Raises:
            SalusError: it could not be written.
        """
        durable: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, durable))
        if self._commits is None or self._commits.done():
            self._commits = asyncio.create_task(self._commit_all())
        await durable

    async def _commit_all(self) -> None:
        while self._waiting:
            await asyncio.sleep(self._gather_s)
            batch, self._waiting = self._waiting, []
            await self._commit(batch)

    async def _commit(self, batch: list[tuple[Record, asyncio.Future[None]]]) -> None:
        write = asyncio.to_thread(self._journal.append, [item for item, _ in batch])
        # Whatever went wrong is for those who wait for their item.
        [error] = await asyncio.gather(write, return_exceptions=True)
        # Some of them may have given up.
        for durable in (d for _, d in batch if not d.done()):
            if error is None:
                durable.set_result(None)
            else:
                durable.set_exception(error)
