"""Prompts into Arrow record batches of `PROMPT_SCHEMA`, each with an id that depends on its content alone."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa

from actors.contract.records import PROMPT_SCHEMA, Method

BATCH_ROWS = 1024
ID_HEX = 16


@dataclass(frozen=True, slots=True)
class Item:
    """A prompt before it has its id: what a reader takes out of one row."""

    prompt: str
    level: int
    source: str
    base_prompt: str
    principle: int | None = None
    method: Method = "direct"
    reference: str | None = None
    style: str | None = None
    context: str | None = None
    topics: str | None = None


def prompt_digest(source: str, prompt: str, context: str | None = None) -> str:
    """64 bits of sha256 over source, prompt and context, as hex: the id of a prompt's first occurrence."""
    before = f"\x00{context}" if context is not None else ""
    return hashlib.sha256(f"{source}\x00{prompt}{before}".encode()).hexdigest()[:ID_HEX]


class PromptIds:
    """Ids that stay the same from run to run: the content's digest, and `-2`, `-3`, ... for its repetitions.

    Holds one small integer per distinct prompt (about 80 bytes), and a count only for those seen twice.
    """

    def __init__(self) -> None:
        self._seen: set[int] = set()
        self._repeated: dict[int, int] = {}

    def next(self, source: str, prompt: str, context: str | None = None) -> str:
        digest = prompt_digest(source, prompt, context)
        key = int(digest, 16)
        if key not in self._seen:
            self._seen.add(key)
            return digest
        count = self._repeated.get(key, 1) + 1
        self._repeated[key] = count
        return f"{digest}-{count}"


def prompt_batches(items: Iterable[Item], batch_rows: int = BATCH_ROWS) -> Iterator[pa.RecordBatch]:
    """Record batches of at most `batch_rows` rows, in the order of `items`."""
    ids = PromptIds()
    columns: dict[str, list[object]] = {name: [] for name in PROMPT_SCHEMA.names}
    for item in items:
        columns["prompt_id"].append(ids.next(item.source, item.prompt, item.context))
        for name in PROMPT_SCHEMA.names[1:]:
            columns[name].append(getattr(item, name))
        if len(columns["prompt_id"]) >= batch_rows:
            yield pa.RecordBatch.from_pydict(columns, schema=PROMPT_SCHEMA)
            columns = {name: [] for name in PROMPT_SCHEMA.names}
    if columns["prompt_id"]:
        yield pa.RecordBatch.from_pydict(columns, schema=PROMPT_SCHEMA)


def prompt_table(batches: Iterable[pa.RecordBatch]) -> pa.Table:
    """All batches in one table: for data sets that fit in memory."""
    return pa.Table.from_batches(list(batches), schema=PROMPT_SCHEMA)
