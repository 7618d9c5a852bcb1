"""When an actor worked on one shard: what the timeline of a run is drawn from."""

from __future__ import annotations

import time
from pathlib import Path

import pyarrow.parquet as pq

from actors.contract.records import Record


class Span(Record):
    """When an actor's engine worked on one shard, in seconds since the epoch, and on how many rows.

    A shard that was read back from disk has no length.
    """

    start_s: float
    end_s: float
    rows: int
    # The actor's place in its pool, which only the driver knows: it fills it in.
    worker: int | None = None
    # Of the answers that a generator sampled; 0 of all else.
    tokens: int = 0


def instant(path: Path) -> Span:
    """The span of a shard that was already on disk."""
    now = time.time()
    return Span(start_s=now, end_s=now, rows=pq.read_metadata(path).num_rows)
