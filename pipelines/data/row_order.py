"""A row's place among others: the hash of the seed and its content; what of rows follows from place and class alone.

One sort by place is a shuffle, brings duplicates side by side, and does not depend on how the data were blocked.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
import pyarrow as pa

_COMMON: list[pa.Field[Any]] = [
    pa.field("level", pa.int8()),
    pa.field("order", pa.string()),
    # The turns before the prompt (`actors.contract.conversation`); null: none.
    pa.field("context", pa.string()),
]
_TEXTS: dict[str, pa.Field[Any]] = {
    name: pa.field(name, pa.string()) for name in ("prompt", "completion", "chosen", "rejected")
}
KTO_SCHEMA = pa.schema([_TEXTS["prompt"], _TEXTS["completion"], pa.field("label", pa.bool_()), *_COMMON])
DPO_SCHEMA = pa.schema([_TEXTS["prompt"], _TEXTS["chosen"], _TEXTS["rejected"], *_COMMON])


def placed(rows: list[dict[str, Any]], schema: pa.Schema, seed: int) -> pa.Table:
    """Rows as a table of `schema`; keys that it does not have only make equal rows different ones."""
    return pa.Table.from_pylist([row | {"order": _place(row, seed)} for row in rows], schema=schema)


def _place(row: dict[str, Any], seed: int) -> str:
    text = json.dumps([seed, *(row[k] for k in sorted(row))], ensure_ascii=False)
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def deduplicate(batch: pa.Table) -> pa.Table:
    """Keep the first of equal neighbours; equal rows are neighbours because `order` is made of their content."""
    if batch.num_rows == 0:
        return batch
    order = batch["order"].to_numpy(zero_copy_only=False)
    return batch.filter(pa.array(np.concatenate([[True], order[1:] != order[:-1]])))


def thinning(positive: int, negative: int, max_ratio: float) -> tuple[float, float]:
    """Shares of the two classes to keep, so that neither outnumbers the other more than `max_ratio` to one."""
    if positive == 0 or negative == 0:
        return 1.0, 1.0
    return min(1.0, max_ratio * negative / positive), min(1.0, max_ratio * positive / negative)


def interleave(positive: np.ndarray[Any, np.dtype[np.bool_]]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """An order of rows in which the two classes alternate as evenly as their numbers allow.

    Row j of a class of m is at (j + 1/2) / m of the way; the order within each class is kept.
    """
    place = np.empty(len(positive))
    for of_class in (positive, ~positive):
        m = int(of_class.sum())
        place[of_class] = (np.arange(m) + 0.5) / max(m, 1)
    return np.argsort(place, kind="stable")


def shuffled(rows: list[dict[str, Any]], seed: int) -> list[dict[str, Any]]:
    """The control's rows: as many of each label, but no label has anything to do with its answer."""
    draw = np.random.default_rng([seed, len(rows)])
    if rows and "label" in rows[0]:
        order = draw.permutation(len(rows))
        return [row | {"label": rows[i]["label"]} for row, i in zip(rows, order, strict=True)]
    # Just half of them: by chance alone one side could be left the better one.
    turned = draw.permutation(len(rows)) % 2 == 0
    return [
        row | {"chosen": row["rejected"], "rejected": row["chosen"]} if turn else row
        for row, turn in zip(rows, turned, strict=True)
    ]
