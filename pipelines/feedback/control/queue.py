"""The queue `control`: answers of all contenders that people label without knowing whose they are.

A reviewer sees request, harm level and answer. The file holds neither the contender nor what the judge said. Its order
is drawn at random: reviewers who stop early have labelled a random part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from actors.contract.conversation import answer_key, transcripts
from actors.contract.records import Label
from actors.contract.run_folder import RunFolder
from actors.files.shards import read_shard, strings, write_table
from pipelines.feedback.review.queue import Probabilities, Queued

_FILE = "queue.parquet"
_FIELDS: list[pa.Field[Any]] = [
    pa.field("key", pa.string(), nullable=False),
    # The whole conversation.
    pa.field("prompt", pa.string(), nullable=False),
    pa.field("answer", pa.string(), nullable=False),
    pa.field("level", pa.int8(), nullable=False),
    pa.field("method", pa.string(), nullable=False),
]
QUEUE_SCHEMA = pa.schema(_FIELDS)


@dataclass(frozen=True)
class BlindAnswer:
    """An answer of one contender, as a reviewer is shown it (`pipelines.feedback.review.queue.Reviewable`)."""

    prompt: str
    answer: str
    level: int | None
    method: str | None
    # Not known to the reviewer.
    policy: str = ""
    judge: str | None = None
    label: Label | None = None
    p: Probabilities | None = None
    disagreement: float | None = None
    draw: float = 0.0


@dataclass(frozen=True)
class ControlPlace(Queued):
    """One place of the queue."""

    def why(self) -> str:
        """Why a person is asked, in one sentence."""
        return "A decision rests on it: it was drawn at random to check the judge, whose label is not shown."


def keys_of(rows: pa.Table) -> list[str]:
    """The key of each answer, by which its labels are found."""
    return [answer_key(*pair) for pair in zip(transcripts(rows), strings(rows, "answer"), strict=True)]


def write_queue(rows: Sequence[pa.Table], folder: Path, seed: int) -> None:
    """Write the answers of all contenders, each once, in an order drawn by `seed`.

    Args:
        rows: judged answers of each contender, with the columns of `ROLLOUT_SCHEMA`.
        folder: receives the queue.
        seed: of the order.
    """
    found: dict[str, dict[str, object]] = {}
    for table in rows:
        shown = zip(transcripts(table), table.select(["answer", "level", "method"]).to_pylist(), strict=True)
        for key, (prompt, row) in zip(keys_of(table), shown, strict=True):
            found.setdefault(key, {"key": key, "prompt": prompt, **row})
    ordered = [found[key] for key in sorted(found)]
    places = np.random.default_rng(seed).permutation(len(ordered))
    write_table(pa.Table.from_pylist([ordered[place] for place in places], schema=QUEUE_SCHEMA), folder / _FILE)


def waiting_cycles(folder: RunFolder) -> dict[int, Path]:
    """The queue of each cycle that waits for people, oldest first."""
    found = {
        int(name): file
        for file in sorted(folder.root.glob(f"cycles/*/control/{_FILE}"))
        if (name := file.parent.parent.name).isdecimal()
    }
    return {cycle: file for cycle, file in found.items() if not folder.control(cycle).is_file()}


class ControlQueue:
    """The control answers of a run that wait for people, oldest cycle first.

    A cycle waits until its control labels are written. A file is read again only when it has changed.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._known: dict[Path, tuple[int, list[Queued]]] = {}

    def places(self) -> list[Queued]:
        """All of them, labelled or not.

        Raises:
            SalusError: a queue cannot be read.
        """
        places: dict[str, Queued] = {}
        for queue in waiting_cycles(self._folder).values():
            for place in self._read(queue):
                places.setdefault(place.key, place)
        return list(places.values())

    def _read(self, file: Path) -> list[Queued]:
        changed = file.stat().st_mtime_ns
        known = self._known.get(file)
        if known is None or known[0] != changed:
            rows = read_shard(file, QUEUE_SCHEMA).to_pylist()
            self._known[file] = changed, [_place(row) for row in rows]
        return self._known[file][1]


def _place(row: dict[str, Any]) -> Queued:
    key = row.pop("key")
    return ControlPlace(key, BlindAnswer(**row), (0.0, 0.0, 0.0), "control")
