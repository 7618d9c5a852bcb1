"""Judgments -> KTO rows and DPO pairs, deduplicated, balanced, shuffled, as Parquet, with Ray Data.

Each row's place is the hash of the seed and its own content (`pipelines.data.row_order`). One distributed sort is
therefore the shuffle, and brings duplicates side by side. It gives the same files for the same seed, however the data
were blocked. Places are drawn evenly, so where sorted blocks begin is known before any row is made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray
from numpy.typing import NDArray

from actors.contract.records import ROW_NAMES, Label, Record, RowKind, RowName
from actors.files.records import find_record
from actors.files.shards import read_folder, shard_files, write_table, write_text
from pipelines.alignment.rows.egida_pairs import draw_pairs
from pipelines.alignment.rows.judged import dpo_pairs, kto_rows
from pipelines.config.preference import PreferenceConfig
from pipelines.config.scores import ScoreTable
from pipelines.data.row_order import (
    DPO_SCHEMA,
    KTO_SCHEMA,
    in_order,
    interleave,
    key_bounds,
    place_bytes,
    placed,
    placed_table,
    shuffled,
    thinning,
    with_key,
    without_nulls,
)
from pipelines.feedback.review.apply import apply_labels
from pipelines.feedback.rows import feedback_table

JUDGED_COLUMNS = (
    "prompt_id", "prompt", "level", "reference", "answer", "label", "p_accept", "p_caution", "p_refuse",
    "finish_reason", "context", "thought",
)  # fmt: skip
# A shuffle of b blocks is one of b * b pieces; of so many blocks, each has 400,000 of a hundred million rows.
MOST_BLOCKS = 256
# Idle processes that the actors of Ray Train and Serve take before the first shuffle wants them.
_TAKEN = 3


class PreferenceReport(Record):
    """What the rows of one kind came to; written beside them as `report.json`."""

    # The kind, by its name in files (`ROW_NAMES`).
    algorithm: RowName
    rows: int
    # Unpaired: desirable rows; pairs: those of harmless prompts.
    positive: int
    # Pairs that Egida has too.
    egida: int = 0
    # Rows of feedback, repetitions counted.
    feedback: int = 0

    def outside(self) -> str:
        """Which of the rows are not from judgments, for a line of output."""
        parts = [f"{n} of {what}" for what, n in (("Egida", self.egida), ("feedback", self.feedback)) if n]
        return f" ({', '.join(parts)})" if parts else ""


@dataclass(frozen=True)
class Beside:
    """What rows are made of beside the judge's judgments; None: nothing of the kind."""

    # The shards that `config.egida_pairs` are drawn from.
    pairs: Path | None = None
    # The shards of this cycle's feedback (`pipelines.feedback.snapshot`).
    feedback: Path | None = None
    # People's labels, by answer key (`pipelines.feedback.review.snapshot`).
    reviews: Mapping[str, Label] | None = None
    # Of the judge's calibration, applied to its probabilities before `config.min_confidence` looks at them.
    temperature: float | None = None


def build_rows(
    kind: RowKind,
    judgments: Sequence[Path],
    output: Path,
    config: PreferenceConfig,
    table: ScoreTable,
    seed: int,
    beside: Beside | None = None,
) -> PreferenceReport:
    """Write the training rows of one kind, perhaps none; rows already written are left as they are."""
    done = output / "report.json"
    if report := find_record(PreferenceReport, done, "a report of preference rows", "delete its folder"):
        return report
    beside = beside or Beside()
    files = [file for folder in judgments for file in shard_files(folder)]
    judged, columns = _held(files)
    parts = shuffle_blocks(len(files), judged, config)
    egida = egida_rows(kind, beside.pairs, config, seed) if beside.pairs is not None else None
    make = _Make(kind, columns, config, table, seed, beside)
    # Read by our own tasks: Ray Data's reader first looks into every file, once more, to guess sizes.
    sources = (
        [_each_block(ray.data.from_items(_in_parts(files, parts), override_num_blocks=parts), make)] if files else []
    )
    if egida is not None:
        sources.append(ray.data.from_arrow(with_key(egida)))
    # A union of one is none to Ray Data.
    ordered = _sorted(sources[0].union(*sources[1:]) if len(sources) > 1 else sources[0], parts)
    blocks = _counted(ordered, kind)
    count, positive = sum(block.rows for block in blocks), sum(block.positive for block in blocks)
    if count == 0:
        report = PreferenceReport(algorithm=ROW_NAMES[kind], rows=0, positive=0)
        write_text(report.model_dump_json(indent=2), done)
        return report
    keep = thinning(positive, count - positive, config.max_class_ratio)
    said = 0
    if beside.feedback is not None and config.feedback is not None:
        # Its share is of the rows that are left, so these are thinned first, and feedback is not.
        own = _each_block(ordered, partial(_thinned, kind=kind, keep=keep)).materialize()
        items, kept = read_folder(beside.feedback), own.count()
        rows = feedback_table(items, kind, config.feedback, seed, kept, config.shuffle_labels)
        if said := rows.num_rows:
            both = _each_block(own, with_key).union(ray.data.from_arrow(with_key(rows)))
            blocks, keep = _counted(_sorted(both, parts), kind), (1.0, 1.0)
    outside = egida["order"].combine_chunks() if egida is not None else pa.array([], pa.string())
    report = _write_files(blocks, FileWriter(output, kind, keep, outside), config.rows_per_file)
    report = report.model_copy(update={"feedback": said})
    write_text(report.model_dump_json(indent=2), done)
    return report


def _held(files: Sequence[Path]) -> tuple[int, tuple[str, ...]]:
    """Rows of all files, and the columns that rows are made of, as far as every file has them.

    Files of earlier versions hold no context and no thoughts.
    """
    if not files:
        return 0, ()
    with ThreadPoolExecutor() as threads:
        footers = threads.map(_footer, files)
        sizes, names = zip(*footers, strict=True)
    held = set.intersection(*map(set, names))
    return sum(sizes), tuple(name for name in JUDGED_COLUMNS if name in held)


def _footer(file: Path) -> tuple[int, list[str]]:
    # Closed at once: read by themselves, the footers of many files leave a thread's memory in pieces, 50 KB a file.
    with pq.ParquetFile(file) as opened:
        return opened.metadata.num_rows, opened.schema_arrow.names


def _in_parts(files: Sequence[Path], parts: int) -> list[dict[str, list[str]]]:
    """Files in so many rows of a dataset, neighbours together."""
    ends = [len(files) * part // parts for part in range(parts + 1)]
    return [{"files": [str(file) for file in files[start:end]]} for start, end in pairwise(ends)]


def _each_block(rows: ray.data.Dataset, change: Callable[[pa.Table], pa.Table]) -> ray.data.Dataset:
    changed: ray.data.Dataset = rows.map_batches(cast(Any, change), batch_format="pyarrow", batch_size=None)
    return changed


def _sorted(rows: ray.data.Dataset, parts: int) -> ray.data.Dataset:
    """Rows in the order of their places, each once. They have a `key`; afterwards they have none."""
    # Where they are parted is known before any row is: places are hashes, so nothing has to be sampled.
    bounds: Any = key_bounds(parts) or None
    ordered: ray.data.Dataset = _each_block(rows.sort("key", boundaries=bounds), in_order).materialize()
    return ordered


def shuffle_blocks(files: int, rows: int, config: PreferenceConfig) -> int:
    """Blocks that a shuffle of `rows` judgments in `files` files reads and sorts."""
    # Every block of rows becomes a piece in every sorted one, so their number may not grow with the rows for ever.
    blocks = min(-(-rows // config.rows_per_file), MOST_BLOCKS)
    # Never more blocks than files: a file holds all answers to each of its prompts, half a file might not.
    return max(1, min(files, blocks))


def warm_up(blocks: int) -> None:
    """Bring up the processes that a shuffle of so many blocks will find ready, while others start engines anyway."""
    tables: list[Any] = [with_key(pa.table({"order": [f"{i:024x}"]})) for i in range(blocks + _TAKEN)]
    _sorted(ray.data.from_arrow(tables), len(tables))


def egida_rows(kind: RowKind, pairs: Path, config: PreferenceConfig, seed: int) -> pa.Table | None:
    """A cycle's draw of outside pairs as rows of `KTO_SCHEMA` or `DPO_SCHEMA`, turned round like all in the control.

    The same pairs whatever the kind. None where the recipe asks for no such rows.
    """
    asked = config.egida_pairs
    if asked is None or (kind == "unpaired" and not asked.unpaired):
        return None
    drawn = draw_pairs(pairs, asked.per_cycle, seed)
    if kind == "unpaired":
        drawn = [
            {"prompt": pair["prompt"], "completion": pair[side], "label": side == "chosen", "level": pair["level"]}
            for pair in drawn
            for side in ("chosen", "rejected")
        ]
    schema = KTO_SCHEMA if kind == "unpaired" else DPO_SCHEMA
    return placed(shuffled(drawn, seed) if config.shuffle_labels else drawn, schema, seed)


@dataclass(frozen=True)
class _Make:
    """Rows of one kind from the judged answers of some files."""

    kind: RowKind
    columns: Sequence[str]
    config: PreferenceConfig
    table: ScoreTable
    seed: int
    beside: Beside

    def __call__(self, block: pa.Table) -> pa.Table:
        """The rows of a block that names files."""
        named: Any = block["files"].to_pylist()
        files = [file for some in named for file in some]
        columns = list(self.columns)
        # Without a dataset for each small file, which also gave the columns in this order.
        shards = [pq.ParquetFile(file).read(columns, use_threads=False).select(columns) for file in files]
        judgments = pa.concat_tables(shards)
        return with_key(made_rows(judgments, self.kind, self.config, self.table, self.seed, self.beside))


def made_rows(
    judgments: pa.Table, kind: RowKind, config: PreferenceConfig, table: ScoreTable, seed: int, beside: Beside
) -> pa.Table:
    """Rows of `KTO_SCHEMA` or `DPO_SCHEMA` from judged answers of which some may have no label, or no sure one."""
    judgments, _ = apply_labels(judgments, beside.reviews or {})
    judgments = judgments.filter(pa.compute.is_valid(judgments["label"]))
    judgments = judgments.filter(pa.array(_sureness(judgments, beside.temperature) >= config.min_confidence))
    make, schema = (kto_rows, KTO_SCHEMA) if kind == "unpaired" else (dpo_pairs, DPO_SCHEMA)
    made = make(judgments, config, table)
    if config.shuffle_labels:
        return placed(shuffled(without_nulls(made), seed), schema, seed)
    return placed_table(made, schema, seed)


def _sureness(judgments: pa.Table, temperature: float | None) -> NDArray[np.float32]:
    """Probability of the likeliest label at the calibrated temperature (None: as judged), shape (rows,)."""
    p: NDArray[np.float32] = np.column_stack(
        [judgments[c].to_numpy().astype(np.float32) for c in ("p_accept", "p_caution", "p_refuse")]
    )
    if temperature is not None:
        # Imported late: it brings scipy, and shuffling processes start often.
        from pipelines.judges.calibration import tempered

        p = tempered(p.astype(np.float64), temperature).astype(np.float32)
    sure: NDArray[np.float32] = p.max(axis=1)
    return sure


def _positive(batch: pa.Table, kind: RowKind) -> np.ndarray[Any, np.dtype[np.bool_]]:
    if kind == "unpaired":
        return np.asarray(batch["label"].to_numpy(zero_copy_only=False), dtype=bool)
    return np.asarray(batch["level"].to_numpy() == 0)


@dataclass(frozen=True)
class _Block:
    """A block of sorted rows in Ray's object store, with how many rows it has, and how many of the positive class."""

    ref: Any
    rows: int
    positive: int


def _counted(ordered: ray.data.Dataset, kind: RowKind) -> list[_Block]:
    """The blocks that have rows."""
    refs = ordered.to_arrow_refs()
    sizes = ray.get([_count.remote(ref, kind) for ref in refs])
    return [_Block(ref, *size) for ref, size in zip(refs, sizes, strict=True) if size[0]]


# A core each: without, Ray starts a process for every block at once.
@ray.remote
def _count(block: pa.Table, kind: RowKind) -> tuple[int, int]:
    return block.num_rows, int(_positive(block, kind).sum()) if block.num_rows else 0


def _thinned(batch: pa.Table, kind: RowKind, keep: tuple[float, float]) -> pa.Table:
    """The rows that are kept of each class, where `keep` says how large a share."""
    if batch.num_rows == 0 or keep == (1.0, 1.0):
        return batch
    # The row's own hash is its draw: no state, the same on every machine.
    draw = np.ascontiguousarray(place_bytes(batch["order"])[:, -4:]).view(">u4").ravel() / 2**32
    return batch.filter(pa.array(draw < np.where(_positive(batch, kind), *keep)))


@dataclass(frozen=True)
class FileWriter:
    """How sorted rows become files."""

    output: Path
    kind: RowKind
    keep: tuple[float, float]
    # Places of rows from elsewhere, to be counted.
    outside: Any

    def __call__(self, number: int, start: int, rows: int, *blocks: pa.Table) -> tuple[int, int, int]:
        """Write one file: so many rows from a place within the first block on, thinned, their classes in turn.

        Returns how many rows it has, how many of them are of the positive class, and how many are from elsewhere.
        """
        part = _thinned(pa.concat_tables(blocks).slice(start, rows), self.kind, self.keep).combine_chunks()
        positive = _positive(part, self.kind)
        # Numbered by us: the names of Ray Data's own writer hold a random id.
        write_table(part.take(pa.array(interleave(positive))), self.output / f"{number:05d}.parquet")
        known = pa.compute.is_in(part["order"], value_set=self.outside)
        return part.num_rows, int(positive.sum()), int(np.asarray(known).sum())


@ray.remote
def _write(write: FileWriter, number: int, start: int, rows: int, *blocks: pa.Table) -> tuple[int, int, int]:
    return write(number, start, rows, *blocks)


def _write_files(blocks: Sequence[_Block], write: FileWriter, rows_per_file: int) -> PreferenceReport:
    """Write sorted rows into files of a size that the row count alone decides, several at once."""
    starts = np.cumsum([0, *(block.rows for block in blocks)])
    count = int(starts[-1])
    asked, written = ray.put(write), []
    for number, (start, end) in enumerate(pairwise(_even_cuts(count, -(-count // rows_per_file)))):
        first, last = int(np.searchsorted(starts, start, "right")) - 1, int(np.searchsorted(starts, end, "left"))
        refs = [block.ref for block in blocks[first:last]]
        written.append(_write.remote(asked, number, start - int(starts[first]), end - start, *refs))
    rows, positives, outside = (sum(of) for of in zip(*ray.get(written), strict=True))
    return PreferenceReport(algorithm=ROW_NAMES[write.kind], rows=rows, positive=positives, egida=outside)


def _even_cuts(count: int, files: int) -> list[int]:
    """Where files begin, and the end of the last, as Ray Data parts rows evenly."""
    ends, end = [0], 0.0
    for _ in range(files - 1):
        end += count / files
        ends.append(int(end))
    return [*ends, count]
