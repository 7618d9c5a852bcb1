"""MedQuAD (Ben Abacha and Demner-Fushman, 2019): plain medical questions with NIH answers, all harmless."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa

from pipelines.data.batches import Item, prompt_batches
from pipelines.data.fields import optional_text, text
from pipelines.data.rows import Row, data_files, rows_of


def read_medquad(location: Path, worded: Callable[[str], str] = str) -> Iterator[pa.RecordBatch]:
    """The questions (level 0) as batches, their answers as references, from a JSONL file or a folder of them.

    Questions about one topic (`focus`) share a base prompt, so a split by base prompt never shares a topic.
    `worded` gives the prompt that asks a question. Raises `SalusError` for a missing path and a bad row.
    """
    files = data_files(location)
    return prompt_batches(_item(row, worded) for file in files for row in rows_of(file, ("question", "answer")))


def _item(row: Row, worded: Callable[[str], str]) -> Item:
    question = text(row, "question")
    focus = optional_text(row, "focus")
    return Item(
        prompt=worded(question),
        level=0,
        source="medquad",
        base_prompt=focus if focus is not None else question,
        reference=text(row, "answer"),
    )
