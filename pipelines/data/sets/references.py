"""Questions with a reference answer each: how likely a policy finds what an expert wrote."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import Field

from actors.contract.records import Record
from pipelines.data.fields import text
from pipelines.data.rows import data_files, rows_of


class Reference(Record):
    """One question and its reference answer."""

    question: str = Field(min_length=1)
    answer: str = Field(min_length=1)


def read_references(location: Path) -> Iterator[Reference]:
    """The rows of one file, or of all data files in a folder, by their columns `question` and `answer`.

    Raises `SalusError` for a missing path, a column that is not there, and a bad row.
    """
    for file in data_files(location):
        for row in rows_of(file, ("question", "answer")):
            yield Reference(question=text(row, "question"), answer=text(row, "answer"))
