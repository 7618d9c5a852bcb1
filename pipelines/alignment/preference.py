"""Judgments -> KTO rows and DPO pairs, deduplicated, balanced, shuffled, as Parquet, with Ray Data.

Each row's place is the hash of the seed and its own content (`pipelines.data.row_order`). One distributed sort is
therefore the shuffle, and brings duplicates side by side. It gives the same files for the same seed, however the data
were blocked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray
from numpy.typing import NDArray

from actors.contract.records import CUT_OFF, ROW_NAMES, Label, Record, RowKind
from actors.files.records import find_record
from actors.files.shards import read_folder, shard_files, strings, write_table, write_text
from pipelines.alignment.egida_pairs import draw_pairs
from pipelines.config.preference import PreferenceConfig
from pipelines.config.scores import ScoreTable
from pipelines.data.row_order import DPO_SCHEMA, KTO_SCHEMA, deduplicate, interleave, placed, shuffled, thinning
from pipelines.feedback.review.apply import apply_labels
from pipelines.feedback.rows import feedback_table
from pipelines.measures.metrics import scores

JUDGED_COLUMNS = (
    "prompt_id", "prompt", "level", "reference", "answer", "label", "p_accept", "p_caution", "p_refuse",
    "finish_reason", "context", "thought",
)  # fmt: skip
# Idle processes that the actors of Ray Train and Serve take before the first shuffle wants them.
_TAKEN = 3


class PreferenceReport(Record):
    """What the rows of one kind came to; written beside them as `report.json`."""

    # The kind, by its name in files (`ROW_NAMES`).
    algorithm: Literal["kto", "dpo"]
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
    make = kto_rows if kind == "unpaired" else dpo_pairs
    files = [file for folder in judgments for file in shard_files(folder)]
    judged = sum(pq.read_metadata(file).num_rows for file in files)
    # Files of earlier versions hold no context and no thoughts.
    held = set.intersection(*(set(pq.read_schema(file).names) for file in files))
    parts = shuffle_blocks(len(files), judged, config)
    egida = egida_rows(beside.pairs, config, seed) if kind == "pairs" and beside.pairs is not None else None
    made = (
        ray.data.read_parquet(list(map(str, files)), override_num_blocks=parts)
        .select_columns([name for name in JUDGED_COLUMNS if name in held])
        .map_batches(
            partial(_make, make=make, config=config, table=table, seed=seed, beside=beside),
            batch_format="pyarrow",
            batch_size=None,
        )
    )
    if egida is not None:
        made = made.union(ray.data.from_arrow(egida))
    ordered = (
        made.sort("order").map_batches(cast(Any, deduplicate), batch_format="pyarrow", batch_size=None).materialize()
    )
    counts = ray.get([_count.remote(block, kind) for block in ordered.to_arrow_refs()])
    count, positive = sum(rows for rows, _ in counts), sum(positives for _, positives in counts)
    if count == 0:
        report = PreferenceReport(algorithm=ROW_NAMES[kind], rows=0, positive=0)
        write_text(report.model_dump_json(indent=2), done)
        return report
    keep = thinning(positive, count - positive, config.max_class_ratio)
    said = 0
    if beside.feedback is not None and config.feedback is not None:
        # Its share is of the rows that are left, so these are thinned first, and feedback is not.
        own = _thinned(ordered, kind, keep).materialize()
        items, kept = read_folder(beside.feedback), own.count()
        rows = feedback_table(items, kind, config.feedback, seed, kept, config.shuffle_labels)
        if said := rows.num_rows:
            ordered, count, keep = own.union(ray.data.from_arrow(rows)).sort("order"), kept + said, (1.0, 1.0)
    # Blocks of a size that the row count alone decides come before what is done by block.
    blocks = _thinned(ordered.repartition(-(-count // config.rows_per_file)), kind, keep).to_arrow_refs()
    # Numbered by us: the names of Ray Data's own writer hold a random id.
    ray.get([_write.remote(block, output / f"{i:05d}.parquet") for i, block in enumerate(blocks)])
    report = rows_report(kind, output, egida).model_copy(update={"feedback": said})
    write_text(report.model_dump_json(indent=2), done)
    return report


def shuffle_blocks(files: int, rows: int, config: PreferenceConfig) -> int:
    """Blocks that a shuffle of `rows` judgments in `files` files reads and sorts."""
    # Never more blocks than files: a file holds all answers to each of its prompts, half a file might not.
    return min(files, -(-rows // config.rows_per_file))


def warm_up(blocks: int) -> None:
    """Bring up the processes that a shuffle of so many blocks will find ready, while others start engines anyway."""
    tables: list[Any] = [pa.table({"order": [f"{i:024x}"]}) for i in range(blocks + _TAKEN)]
    ordered = ray.data.from_arrow(tables).sort("order")
    ordered.map_batches(cast(Any, deduplicate), batch_format="pyarrow", batch_size=None).materialize()


def rows_report(kind: RowKind, output: Path, egida: pa.Table | None = None) -> PreferenceReport:
    """What the files hold, read file by file and from two columns alone; `egida`: the outside rows to look for."""
    column = "label" if kind == "unpaired" else "level"
    outside = egida["order"].combine_chunks() if egida is not None else pa.array([], pa.string())
    sizes = []
    for file in shard_files(output):
        table = pq.read_table(file, columns=[column, "order"])
        positive = _positive(table, kind)
        known = pa.compute.is_in(table["order"], value_set=outside)
        sizes.append((len(positive), int(positive.sum()), int(np.asarray(known).sum())))
    rows, positives, of_egida = (sum(of) for of in zip(*sizes, strict=True))
    return PreferenceReport(algorithm=ROW_NAMES[kind], rows=rows, positive=positives, egida=of_egida)


def egida_rows(pairs: Path, config: PreferenceConfig, seed: int) -> pa.Table | None:
    """A cycle's draw of outside pairs as rows of `DPO_SCHEMA`, turned round like all others in the control."""
    if config.egida_pairs is None:
        return None
    drawn = draw_pairs(pairs, config.egida_pairs.per_cycle, seed)
    return placed(shuffled(drawn, seed) if config.shuffle_labels else drawn, DPO_SCHEMA, seed)


def kto_rows(judgments: pa.Table, config: PreferenceConfig, table: ScoreTable) -> list[dict[str, Any]]:
    """One row per answer: desirable with its level's best mark, undesirable with mark 0; the rest say nothing.

    An answer that may not be chosen (`_choosable`) is not desirable either.
    Returns dicts with prompt, completion, label, level, and context where there is one.
    """
    marks = scores(judgments, table)
    best = table.best()
    rows = []
    for group in _groups(judgments):
        first = group[0][1]
        good = False
        for i, row in group:
            desirable = bool(marks[i] > 0)
            if (marks[i] == best[row["level"]] and _choosable(row, config)) or marks[i] == 0:
                good |= desirable
                rows.append(_kto(row, _said(row), desirable))
        if config.reference_kto and not good and first["reference"]:
            rows.append(_kto(first, first["reference"], True))
            good = True
        if config.benign_refusal and first["level"] == 0 and good:
            rows.append(_kto(first, config.benign_refusal, False))
    return rows


def dpo_pairs(judgments: pa.Table, config: PreferenceConfig, table: ScoreTable) -> list[dict[str, Any]]:
    """Pairs within a prompt, widest margin of marks first; chosen always scores strictly higher than rejected.

    Where no answer has its level's best mark, the reference safe answer is the chosen one (Egida's
    recipe). Where a harmless prompt has no bad answer, `benign_refusal` is the rejected one.
    Answers that were cut off or are empty are never chosen (`_choosable`).
    Returns dicts with prompt, chosen, rejected, level, and context where there is one.
    """
    marks = scores(judgments, table)
    best = table.best()
    pairs = []
    for group in _groups(judgments):
        first = group[0][1]
        answers = [(float(marks[i]), _said(row), _choosable(row, config)) for i, row in group]
        top = float(best[first["level"]])
        good = any(mark >= top and choosable for mark, _, choosable in answers)
        if config.use_references and first["reference"] and not good:
            answers.append((top, first["reference"], True))
        if config.benign_refusal and first["level"] == 0 and all(mark > 0 for mark, *_ in answers):
            answers.append((0.0, config.benign_refusal, False))
        # An answer that got both marks says nothing about which is better.
        unique = {text: mark for mark, text, _ in answers if {m for m, t, _ in answers if t == text} == {mark}}
        whole = {text for _, text, choosable in answers if choosable}
        ranked = sorted(unique.items(), key=lambda item: (-item[1], item[0]))
        margins = [
            (high - low, chosen, rejected)
            for chosen, high in ranked
            for rejected, low in ranked
            if high > low and chosen in whole
        ]
        margins.sort(key=lambda m: (-m[0], m[1], m[2]))
        for _, chosen, rejected in _spread(margins, config.pairs_per_prompt):
            pairs.append({**_asked(first), "chosen": chosen, "rejected": rejected})
    return pairs


def _make(
    judgments: pa.Table,
    make: Callable[[pa.Table, PreferenceConfig, ScoreTable], list[dict[str, Any]]],
    config: PreferenceConfig,
    table: ScoreTable,
    seed: int,
    beside: Beside,
) -> pa.Table:
    judgments, _ = apply_labels(judgments, beside.reviews or {})
    judgments = judgments.filter(pa.compute.is_valid(judgments["label"]))
    judgments = judgments.filter(pa.array(_sureness(judgments, beside.temperature) >= config.min_confidence))
    schema = KTO_SCHEMA if make is kto_rows else DPO_SCHEMA
    made = make(judgments, config, table)
    return placed(shuffled(made, seed) if config.shuffle_labels else made, schema, seed)


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


def _groups(judgments: pa.Table) -> list[list[tuple[int, dict[str, Any]]]]:
    """Rows by prompt; a shard holds all answers to each of its prompts, so no shuffle is needed for this."""
    groups: dict[str, list[tuple[int, dict[str, Any]]]] = {}
    for i, row in enumerate(judgments.to_pylist()):
        groups.setdefault(row["prompt_id"], []).append((i, row))
    return list(groups.values())


def _spread(margins: list[tuple[float, str, str]], most: int) -> list[tuple[float, str, str]]:
    """The first pairs, each rejected and each chosen answer used once where that is possible."""
    picked: list[tuple[float, str, str]] = []
    for fresh_only in (True, False):
        for pair in margins:
            used = any(pair[1] == p[1] or pair[2] == p[2] for p in picked)
            if len(picked) < most and pair not in picked and not (fresh_only and used):
                picked.append(pair)
    return picked


def _kto(row: dict[str, Any], completion: str, label: bool) -> dict[str, Any]:
    return {**_asked(row), "completion": completion, "label": label}


def _asked(row: dict[str, Any]) -> dict[str, Any]:
    """What a row's answer answers; rows without context have no such key, so that their places stay."""
    context = {"context": row["context"]} if row.get("context") else {}
    return {"prompt": row["prompt"], "level": row["level"], **context}


def _said(row: dict[str, Any]) -> str:
    """All that the policy wrote: its thought, if it had one, and its answer."""
    return (row.get("thought") or "") + str(row["answer"])


def _choosable(row: dict[str, Any], config: PreferenceConfig) -> bool:
    """Whether a good answer may be held up as one: it says something, and to its end."""
    whole = row["finish_reason"] != CUT_OFF or config.choose_cut_off
    return whole and bool(row["answer"].strip())


def _positive(batch: pa.Table, kind: RowKind) -> np.ndarray[Any, np.dtype[np.bool_]]:
    if kind == "unpaired":
        return np.asarray(batch["label"].to_numpy(zero_copy_only=False), dtype=bool)
    return np.asarray(batch["level"].to_numpy() == 0)


def _thinned(rows: ray.data.Dataset, kind: RowKind, keep: tuple[float, float]) -> ray.data.Dataset:
    thin = partial(_thin_and_interleave, kind=kind, keep=keep)
    return rows.map_batches(thin, batch_format="pyarrow", batch_size=None)


@ray.remote(num_cpus=0)
def _write(block: pa.Table, path: Path) -> None:
    write_table(block, path)


@ray.remote(num_cpus=0)
def _count(block: pa.Table, kind: RowKind) -> tuple[int, int]:
    """Rows of a block, and how many are of the positive class."""
    return block.num_rows, int(_positive(block, kind).sum()) if block.num_rows else 0


def _thin_and_interleave(batch: pa.Table, kind: RowKind, keep: tuple[float, float]) -> pa.Table:
    if batch.num_rows == 0:
        return batch
    positive = _positive(batch, kind)
    # The row's own hash is its draw: no state, the same on every machine.
    draw = np.array([int(order[-8:], 16) / 2**32 for order in strings(batch, "order")])
    kept = draw < np.where(positive, *keep)
    batch, positive = batch.filter(pa.array(kept)), positive[kept]
    return batch.take(pa.array(interleave(positive)))
