"""The labels a cycle is trained with, written into the run folder once: a resumed run makes the same rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from actors.contract.records import ROW_NAMES, Label, Record
from actors.contract.run_folder import RunFolder
from actors.files.records import find_record
from actors.files.shards import read_folder, shard_files, write_table, write_text
from pipelines.feedback.review.apply import apply_labels
from pipelines.feedback.review.consensus import Gold, settle
from pipelines.feedback.review.stored import read_labels

_FIELDS: list[pa.Field[Any]] = [
    *(pa.field(name, pa.string(), nullable=False) for name in ("key", "prompt", "answer", "label")),
    *(pa.field(name, pa.int32(), nullable=False) for name in ("votes", "reviewers")),
    pa.field("drawn", pa.string(), nullable=False),
]
# Without the reviewers' names, which are no part of a run.
REVIEW_SCHEMA = pa.schema(_FIELDS)


class ReviewReport(Record):
    """What people's labels came to in one cycle; `report.json` beside them."""

    # Answers with a majority, and answers without one, which were left out.
    labels: int
    ties: int
    # Judged answers of the cycle's rows, replayed ones included, whose label they replaced.
    overridden: int

    def sentence(self) -> str:
        """The same in words."""
        tied = f" ({self.ties} more without a majority, left out)" if self.ties else ""
        return f"people's labels of {self.labels} answers{tied} override {self.overridden} judgments"


class CycleReviews(Record):
    """People's labels for one cycle, by answer key."""

    labels: dict[str, Label]
    report: ReviewReport


def cycle_reviews(
    folder: RunFolder, cycle: int, reviews: Path | None, judgments: Sequence[Path]
) -> CycleReviews | None:
    """The labels that override the judge in a cycle's rows; None where the cycle is trained on the judge's alone.

    The first call decides, and what it wrote is taken from then on, whatever the labels folder or the recipe say by
    then. A cycle that has rows without them stays without.

    Args:
        reviews: the folder of labels the recipe names.
        judgments: the folders of judgments the rows are made from.

    Raises:
        SalusError: the folder of labels is not there, or it or the snapshot cannot be read.
    """
    place = folder.reviews(cycle)
    done = place / "report.json"
    if report := find_record(ReviewReport, done, "a report of people's labels", "delete its folder and the rows"):
        table = read_folder(place, ("key", "label"))
        labels = dict(zip(table["key"].to_pylist(), table["label"].to_pylist(), strict=True))
        return CycleReviews.model_validate({"labels": labels, "report": report})
    if reviews is None or any((folder.rows(cycle, kind) / "report.json").is_file() for kind in ROW_NAMES):
        return None
    settled = settle(read_labels(reviews))
    known = settled.labels()
    report = ReviewReport(labels=len(known), ties=len(settled.ties), overridden=_overridden(judgments, known))
    write_table(_table(settled.gold), place / "labels.parquet")
    write_text(report.model_dump_json(indent=2) + "\n", done)
    return CycleReviews(labels=known, report=report)


def _table(gold: Sequence[Gold]) -> pa.Table:
    return pa.Table.from_pylist([each.model_dump() for each in gold], schema=REVIEW_SCHEMA)


def _overridden(judgments: Sequence[Path], labels: dict[str, Label]) -> int:
    """Rows of all judgments that a label is known for; reads a few columns, shard by shard."""
    if not labels:
        return 0
    files = (file for folder in judgments for file in shard_files(folder))
    return sum(apply_labels(_labelled(file), labels)[1] for file in files)


def _labelled(file: Path) -> pa.Table:
    # Shards of earlier versions have no context.
    columns = [name for name in ("prompt", "context", "answer", "label") if name in pq.read_schema(file).names]
    return pq.read_table(file, columns=columns)
