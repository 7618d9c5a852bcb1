"""Conversations whose answers are to be learnt: any file with a column of messages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pipelines.data.conversations import Demonstrated, demonstrations
from pipelines.data.rows import data_files, rows_of

MESSAGES = "messages"


def read_demonstrations(location: Path) -> Iterator[Demonstrated]:
    """The answers in one file, or in all data files of a folder, from the column `messages`.

    A conversation with several answers gives each with the turns before it.
    Raises `SalusError` for a missing path, a column that is not there, and a bad row.
    """
    for file in data_files(location):
        for row in rows_of(file, (MESSAGES,)):
            yield from demonstrations(row, MESSAGES)
