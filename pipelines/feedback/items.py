"""Feedback beside the answers it is about: one row an item, from the two journals of an endpoint's folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from actors.errors import SalusError
from actors.serve.feedback.journal import read
from actors.serve.feedback.records import CAPTURED_SCHEMA, CAPTURES, FEEDBACK, FEEDBACK_SCHEMA

_OF_THE_ANSWER: list[pa.Field[Any]] = [
    CAPTURED_SCHEMA.field(name).with_nullable(True)
    for name in ("prompt", "conversation", "answer", "finish_reason", "origin")
]
# Null in the columns of the answer: it was not captured, or has expired.
ITEM_SCHEMA = pa.schema([*FEEDBACK_SCHEMA, *_OF_THE_ANSWER])


def check_folder(path: Path) -> None:
    """Raise `SalusError` where a path is no folder of feedback."""
    names = [kind.name for kind in (CAPTURES, FEEDBACK)]
    if not all((path / name).is_dir() for name in names):
        raise SalusError(
            f"{path} holds no feedback; name the endpoint's feedback.folder, which has folders {' and '.join(names)}."
        )


def read_items(path: Path) -> pa.Table:
    """All items of a folder (rows of `ITEM_SCHEMA`), ordered by their ids.

    Raises:
        SalusError: it is no folder of feedback, or a file in it cannot be read.
    """
    check_folder(path)
    # Feedback first: an answer that it is about was captured before it.
    feedback = read(path / FEEDBACK.name, FEEDBACK)
    answers = read(path / CAPTURES.name, CAPTURES).select(["answer_id", *(f.name for f in _OF_THE_ANSWER)])
    joined = feedback.join(answers, "answer_id", join_type="left outer")
    return joined.select(ITEM_SCHEMA.names).cast(ITEM_SCHEMA).sort_by("feedback_id").combine_chunks()
