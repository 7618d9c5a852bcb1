"""The queue of a run's judged answers, read column-wise and kept up to date while the run goes on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from actors.contract.conversation import transcripts
from actors.contract.records import LABELS
from actors.contract.run_folder import RunFolder
from actors.contract.seeds import derive_seed
from actors.errors import SalusError
from actors.files.shards import strings
from pipelines.feedback.review.queue import JudgedAnswer, QueueConfig, Queued, build_queue
from pipelines.measures.bootstrap import Floats

_NEEDED = ("prompt", "answer", "level", "method", "policy", "judge", "label")
_P = tuple(f"p_{label.lower()}" for label in LABELS)
# Columns that shards of earlier versions lack.
_APART, _CONTEXT = "disagreement", "context"
# Rows read for each place, as the same answer may be in several.
_SPARE = 4


def judged_cycles(folder: RunFolder) -> list[int]:
    """The cycles that have judgments by now, newest first."""
    found = {file.parent.parent.name for file in folder.root.glob("cycles/*/judgments/*.parquet")}
    return sorted((int(name) for name in found if name.isdecimal()), reverse=True)


def cycle_shards(folder: RunFolder, cycle: int) -> list[Path]:
    """The shards of a cycle's judgments that are there by now, in order."""
    return sorted(folder.judgments(cycle).glob("*.parquet"))


def shard_answers(shards: Sequence[Path], config: QueueConfig) -> Iterator[JudgedAnswer]:
    """Of every shard the rows that a queue of `config.most` could take, at most that many of a cluster.

    A cluster is a harm level and method. Reads a shard at a time.

    Raises:
        SalusError: a shard cannot be read, or lacks a column.
    """
    for shard in shards:
        seed = derive_seed(config.seed, "review", shard.parent.parent.name, shard.stem)
        yield from _candidates(_read(shard), seed, config.most * _SPARE)


def _read(shard: Path) -> pa.Table:
    try:
        there = pq.read_schema(shard).names
        missing = [name for name in (*_NEEDED, *_P) if name not in there]
        if missing:
            raise SalusError(f"{shard} lacks the column {missing[0]}; judge its answers again.")
        columns = [name for name in (*_NEEDED, *_P, _APART, _CONTEXT) if name in there]
        table = pq.read_table(shard, columns=columns)
        # People are shown the whole conversation.
        place = table.column_names.index("prompt")
        return table.set_column(place, "prompt", pa.array(transcripts(table), pa.string()))
    except (OSError, pa.ArrowInvalid) as error:
        raise SalusError(f"{shard} is not a readable Parquet file ({error}); write it again.") from error


def _candidates(table: pa.Table, seed: int, most: int) -> Iterator[JudgedAnswer]:
    """The likely rows of one shard; `seed` decides which are drawn at random."""
    draws = np.random.default_rng(seed).random(table.num_rows)
    p = np.column_stack([_floats(table, name) for name in _P]).reshape(-1, len(_P))
    apart = _floats(table, _APART) if _APART in table.column_names else np.full(table.num_rows, np.nan)
    chosen = np.union1d(_telling(table, p, apart, most), np.argsort(draws, kind="stable")[:most])
    rows = table.take(pa.array(chosen, pa.int64())).to_pylist()
    for i, row in zip(chosen.tolist(), rows, strict=True):
        judged = not np.isnan(p[i]).any()
        yield JudgedAnswer(
            **{name: row[name] for name in _NEEDED},
            p=(float(p[i, 0]), float(p[i, 1]), float(p[i, 2])) if judged else None,
            disagreement=None if np.isnan(apart[i]) else float(apart[i]),
            draw=float(draws[i]),
        )


def _telling(table: pa.Table, p: Floats, apart: Floats, most: int) -> NDArray[np.int64]:
    """Indices of the `most` most telling rows of each cluster, as `informative_order` ranks them."""
    spread = np.where(np.isnan(p).any(axis=1, keepdims=True), 1 / len(LABELS), p)
    entropy = -(spread * np.log(np.maximum(spread, 1e-12))).sum(axis=1)
    kinds = zip(table["level"].to_pylist(), strings(table, "method"), strict=True)
    clusters = np.unique([f"{level}/{method}" for level, method in kinds], return_inverse=True)[1]
    # The rounding of the rank that counts is coarser than these.
    order = np.lexsort((-entropy, -np.round(np.nan_to_num(apart), 2), clusters))
    sorted_clusters = clusters[order]
    begins = np.searchsorted(sorted_clusters, sorted_clusters, side="left")
    found: NDArray[np.int64] = order[np.arange(len(order)) - begins < most]
    return found


def _floats(table: pa.Table, column: str) -> Floats:
    """A column as floats; null becomes NaN."""
    values: Floats = table[column].to_numpy().astype(np.float64)
    return values


# What tells one state of a cycle's shards from another: name and time of change in nanoseconds.
Signature = tuple[tuple[str, int], ...]


class RunQueue:
    """The answers of a run in the order people see them: newest cycle first, each answer once.

    A cycle is read again only when its shards have changed.
    """

    def __init__(self, folder: RunFolder, config: QueueConfig) -> None:
        self._folder = folder
        self._config = config
        self._known: dict[int, tuple[Signature, list[Queued]]] = {}

    def places(self) -> list[Queued]:
        """All of them, labelled or not; none while nothing is judged.

        Raises:
            SalusError: a shard of judgments cannot be read.
        """
        places: dict[str, Queued] = {}
        for cycle in judged_cycles(self._folder):
            for place in self._cycle(cycle):
                places.setdefault(place.key, place)
        return list(places.values())

    def _cycle(self, cycle: int) -> list[Queued]:
        shards = cycle_shards(self._folder, cycle)
        signature = tuple((shard.name, _changed(shard)) for shard in shards)
        known = self._known.get(cycle)
        if known is None or known[0] != signature:
            self._known[cycle] = signature, build_queue(shard_answers(shards, self._config), self._config)
        return self._known[cycle][1]


def _changed(shard: Path) -> int:
    """0 where it has just gone: reading it will say so."""
    return shard.stat().st_mtime_ns if shard.is_file() else 0
