"""Egida's preference pairs as further DPO pairs: written into the run folder once, some drawn for every cycle.

They are other models' unsafe answers beside safe ones, so they add what this policy's own answers do not show.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from actors.contract.run_folder import RunFolder
from actors.contract.seeds import derive_seed
from actors.errors import SalusError
from actors.files.records import find_record
from actors.files.shards import shard_files, write_text
from pipelines.alignment.rows.outside import OutsideReport, OutsideRow, write_outside
from pipelines.config.preference import EgidaPairsConfig
from pipelines.data.sets.egida import (
    EGIDA_REPOSITORY,
    EgidaConfig,
    PreferencePair,
    read_egida_pairs,
)
from pipelines.data.sets.held_out import HeldOutConfig
from pipelines.runs.prompts.sets import evaluated_keys

PAIR_FIELDS: list[pa.Field[Any]] = [
    *(pa.field(name, pa.string(), nullable=False) for name in ("prompt", "chosen", "rejected")),
    pa.field("level", pa.int8(), nullable=False),
]
PAIR_SCHEMA = pa.schema(PAIR_FIELDS)


def write_pairs(
    config: EgidaPairsConfig | None, folder: RunFolder, held_out: HeldOutConfig | None = None
) -> OutsideReport | None:
    """Read the pairs into shards of `PAIR_SCHEMA`, once; the run's prompts must be written. None where none are asked.

    Raises:
        SalusError: they cannot be read or fetched, a row is bad, or none is left.
    """
    if config is None:
        return None
    done = folder.pairs / "report.json"
    if report := find_record(OutsideReport, done, "a report of pairs", "delete its folder"):
        return report
    location = EGIDA_REPOSITORY if config.path is None else Path(config.path).expanduser()
    pairs = read_egida_pairs(location, EgidaConfig(name=config.name, level=config.level))
    unseen = held_out or HeldOutConfig()
    rows = (_outside(pair, unseen) for pair in pairs)
    report = write_outside(rows, evaluated_keys(folder), folder.pairs, PAIR_SCHEMA)
    if not report.kept:
        raise SalusError(
            f"None of the {report.read} pairs of {config.name} is left: each repeats another, is about a prompt that"
            " this run measures policies by, or is of a topic or style in data.held_out. Leave preference.egida_pairs"
            " out."
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


def _outside(pair: PreferencePair, held_out: HeldOutConfig) -> OutsideRow:
    return OutsideRow(
        values=pair.model_dump(include=set(PAIR_SCHEMA.names)),
        texts=(pair.prompt, pair.chosen, pair.rejected),
        prompts=(pair.prompt, pair.base_prompt),
        idle=pair.chosen == pair.rejected,
        held_out=held_out.holds_out(pair.topics, pair.style),
    )
