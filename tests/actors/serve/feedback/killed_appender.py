"""A program that appends to a journal from many tasks, merges it all the while, and tells what was acknowledged."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from actors.serve.feedback.journal import Journal, JournalWriter, compact
from actors.serve.feedback.records import CAPTURES
from tests.actors.serve.feedback.given import captured

CALLERS = 20


async def append_for_ever(writer: JournalWriter, name: str) -> None:
    number = 0
    while True:
        await writer.append(captured(f"{name}-{number}"))
        # One write a line: two processes' lines never mix, and what is not a whole line was not acknowledged.
        sys.stdout.write(f"{name}-{number}\n")
        sys.stdout.flush()
        number += 1


async def merge_for_ever(folder: Path) -> None:
    while True:
        await asyncio.to_thread(compact, folder, CAPTURES)


async def main() -> None:
    folder, session = Path(sys.argv[1]), sys.argv[2]
    writer = JournalWriter(Journal(folder, CAPTURES), gather_s=0.001)
    callers = (append_for_ever(writer, f"{session}-{i}") for i in range(CALLERS))
    await asyncio.gather(merge_for_ever(folder), *callers)


if __name__ == "__main__":
    asyncio.run(main())
