"""A program that appends to a journal from many tasks, removes old items all the while, and tells what is kept."""

from __future__ import annotations

import asyncio
import sys
from datetime import timedelta
from pathlib import Path

from actors.serve.feedback.journal import Journal, JournalWriter
from actors.serve.feedback.records import CAPTURES
from tests.actors.serve.feedback.given import NOON, captured

CALLERS = 20


async def append_for_ever(writer: JournalWriter, name: str) -> None:
    number = 0
    while True:
        await writer.append(captured(f"{name}-{number}"))
        # One write a line: two processes' lines never mix, and what is not a whole line was not acknowledged.
        sys.stdout.write(f"{name}-{number}\n")
        sys.stdout.flush()
        number += 1


async def expire_for_ever(journal: Journal) -> None:
    while True:
        await asyncio.to_thread(journal.append, [captured("old", at=NOON - timedelta(days=1))])
        await asyncio.to_thread(journal.expire, NOON)


async def main() -> None:
    folder, session = Path(sys.argv[1]), sys.argv[2]
    journal = Journal(folder, CAPTURES)
    writer = JournalWriter(journal, gather_s=0.001)
    callers = (append_for_ever(writer, f"{session}-{i}") for i in range(CALLERS))
    await asyncio.gather(expire_for_ever(journal), *callers)


if __name__ == "__main__":
    asyncio.run(main())
