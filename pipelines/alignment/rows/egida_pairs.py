"""Egida's preference pairs as further DPO pairs: written into the run folder once, some drawn for every cycle.

They are other models' unsafe answers beside safe ones, so they add what this policy's own answers do not show.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from actors.contract.records import Record
from actors.contract.run_folder import RunFolder
from actors.contract.seeds import derive_seed
from actors.errors import SalusError
from actors.files.records import find_record
from actors.files.shards import shard_files, write_table, write_text
from pipelines.config.preference import EgidaPairsConfig
from pipelines.data.sets.egida import (
    EGIDA_REPOSITORY,
    EgidaConfig,
    PreferencePair,
    read_egida_pairs,
)
from pipelines.data.sets.held_out import HeldOutConfig
from pipelines.data.split import group_key
from pipelines.runs.materials import evaluated_keys

PAIR_FIELDS: list[pa.Field[Any]] = [
    *(pa.field(name, pa.string(), nullable=False) for name in ("prompt", "chosen", "rejected")),
    pa.field("level", pa.int8(), nullable=False),
]
PAIR_SCHEMA = pa.schema(PAIR_FIELDS)
PAIRS_PER_FILE = 10_000


class PairsReport(Record):
    """What became of the pairs that were read; `pairs/report.json` of the run folder."""

    kept: int
    # Equal to an earlier one, or with the same answer twice.
    repeated: int = 0
    # About a prompt the run is evaluated on.
    evaluated: int = 0
    # Of a topic or a style that the recipe holds out.
    held_out: int = 0


def write_pairs(
    config: EgidaPairsConfig | None, folder: RunFolder, held_out: HeldOutConfig | None = None
) -> PairsReport | None:
    """Read the pairs into shards of `PAIR_SCHEMA`, once; the run's prompts must be written. None where none are asked.

    Raises:
        SalusError: they cannot be read or fetched, a row is bad, or none is left.
    """
    if config is None:
        return None
    done = folder.pairs / "report.json"
    if report := find_record(PairsReport, done, "a report of pairs", "delete its folder"):
        return report
    location = EGIDA_REPOSITORY if config.path is None else Path(config.path).expanduser()
    pairs = read_egida_pairs(location, EgidaConfig(name=config.name, level=config.level))
    report = _write(pairs, evaluated_keys(folder), held_out or HeldOutConfig(), folder.pairs)
    if not report.kept:
        raise SalusError(
            f"None of the {report.repeated + report.evaluated + report.held_out} pairs of {config.name} is left: each"
            " repeats another, is about a prompt that this run measures policies by, or is of a topic or style in"
            " data.held_out. Leave preference.egida_pairs out."
        )
    write_text(report.model_dump_json(indent=2), done)
    return report


def draw_pairs(pairs: Path, count: int, seed: int) -> list[dict[str, Any]]:
    """At most `count` pairs, those whose draws are lowest: dicts with prompt, chosen, rejected, level.

    Holds no more than one shard and `count` pairs, and depends on the seed and the pairs' content alone.
    """
    lowest = heapq.nsmallest(count, _drawn(pairs, seed))
    return [dict(zip(PAIR_SCHEMA.names, values, strict=True)) for _, *values in lowest]


def _drawn(pairs: Path, seed: int) -> Iterator[tuple[int, str, str, str, int]]:
    for file in shard_files(pairs):
        for row in pq.read_table(file, schema=PAIR_SCHEMA).to_pylist():
            texts = row["prompt"], row["chosen"], row["rejected"]
            yield (derive_seed(seed, "pair", *texts), *texts, row["level"])


def _write(found: Iterator[PreferencePair], evaluated: set[str], held_out: HeldOutConfig, folder: Path) -> PairsReport:
    seen: set[bytes] = set()
    waiting: list[dict[str, Any]] = []
    kept = repeated = left_out = unseen = files = 0
    for pair in found:
        texts = "\x1f".join((pair.prompt, pair.chosen, pair.rejected))
        key = hashlib.blake2b(texts.encode(), digest_size=12).digest()
        if key in seen or pair.chosen == pair.rejected:
            repeated += 1
        elif {group_key(pair.prompt), group_key(pair.base_prompt)} & evaluated:
            left_out += 1
        elif held_out.holds_out(pair.topics, pair.style):
            unseen += 1
        else:
            seen.add(key)
            waiting.append(pair.model_dump(include=set(PAIR_SCHEMA.names)))
            kept += 1
        if len(waiting) == PAIRS_PER_FILE:
            files = _flush(waiting, folder, files)
    if waiting:
        _flush(waiting, folder, files)
    return PairsReport(kept=kept, repeated=repeated, evaluated=left_out, held_out=unseen)


def _flush(waiting: list[dict[str, Any]], folder: Path, number: int) -> int:
    write_table(pa.Table.from_pylist(waiting, schema=PAIR_SCHEMA), folder / f"part-{number:05d}.parquet")
    waiting.clear()
    return number + 1
