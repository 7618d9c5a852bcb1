"""A row's place among others: the hash of the seed and its content; what of rows follows from place and class alone.

One sort by place is a shuffle, brings duplicates side by side, and does not depend on how the data were blocked.
"""

from __future__ import annotations

import hashlib
import json
from json.encoder import encode_basestring
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

_COMMON: list[pa.Field[Any]] = [
    pa.field("level", pa.int8()),
    pa.field("order", pa.string()),
    # The turns before the prompt (`actors.contract.conversation`); null: none.
    pa.field("context", pa.string()),
]
_TEXTS: dict[str, pa.Field[Any]] = {
    name: pa.field(name, pa.string()) for name in ("prompt", "completion", "chosen", "rejected")
}
_DIGEST_BYTES = 12
_KEYS = 2**63
KTO_SCHEMA = pa.schema([_TEXTS["prompt"], _TEXTS["completion"], pa.field("label", pa.bool_()), *_COMMON])
DPO_SCHEMA = pa.schema([_TEXTS["prompt"], _TEXTS["chosen"], _TEXTS["rejected"], *_COMMON])


def placed(rows: list[dict[str, Any]], schema: pa.Schema, seed: int) -> pa.Table:
    """Rows as a table of `schema`; keys that it does not have only make equal rows different ones."""
    return pa.Table.from_pylist([row | {"order": _place(row, seed)} for row in rows], schema=schema)


def without_nulls(table: pa.Table) -> list[dict[str, Any]]:
    """Rows of a table as `placed` takes them: what a row has not is no key of it."""
    return [{name: value for name, value in row.items() if value is not None} for row in table.to_pylist()]


def placed_table(table: pa.Table, schema: pa.Schema, seed: int) -> pa.Table:
    """The same of rows that are a table already, without `order`; each gets the place that `placed` would give it."""
    names = sorted(table.column_names)
    written = [_written(table[name].combine_chunks(), name) for name in names]
    # Each with what follows it: a context that is not there is followed by nothing.
    ends = [", "] * (len(names) - 1) + ["]"]
    pieces = [
        [text + end if text else text for text in texts] for texts, end in zip(written, ends, strict=True) if texts
    ]
    begins = f"[{seed}, "
    order = [_digest(begins + "".join(row)) for row in zip(*pieces, strict=True)]
    columns = {name: table[name] for name in table.column_names} | {"order": pa.array(order, pa.string())}
    return pa.table([columns[name] for name in schema.names], schema=schema)


def _written(column: Any, name: str) -> list[str]:
    """A column's values as JSON; of a context that is not there, nothing, and an empty list where no row has one."""
    if name == "context" and column.null_count == len(column):
        return []
    is_text = pa.types.is_string(column.type)
    if is_text and name != "prompt":
        return [encode_basestring(text) if text is not None else "" for text in column.to_pylist()]
    # Prompts, levels and labels repeat, and writing each once is enough.
    coded = column.dictionary_encode(null_encoding="encode")
    texts = list(map(encode_basestring if is_text else json.dumps, coded.dictionary.to_pylist()))
    return [texts[i] for i in coded.indices.to_pylist()]


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=_DIGEST_BYTES).hexdigest()


def _place(row: dict[str, Any], seed: int) -> str:
    return _digest(json.dumps([seed, *(row[k] for k in sorted(row))], ensure_ascii=False))


def place_bytes(order: Any) -> NDArray[np.uint8]:
    """Places as numbers, shape (rows, 12), first the byte that counts most."""
    digests = bytes.fromhex("".join(order.to_pylist()))
    return np.frombuffer(digests, dtype=np.uint8).reshape(-1, _DIGEST_BYTES)


def with_key(table: pa.Table) -> pa.Table:
    """Rows with a `key`, by which they sort as by `order` and faster: the beginning of the place, in [0, 2^63)."""
    first = np.ascontiguousarray(place_bytes(table["order"])[:, :8]).view(">u8").ravel()
    return table.append_column("key", pa.array((first >> np.uint64(1)).astype(np.int64)))


def key_bounds(parts: int) -> list[int]:
    """Keys that part all rows into so many parts of about the same size, since places are drawn evenly."""
    return [part * _KEYS // parts for part in range(1, parts)]


def in_order(batch: pa.Table) -> pa.Table:
    """Rows sorted by key, without it: sorted by `order`, and each row once."""
    if "key" not in batch.column_names:
        # An empty block of Ray Data has no columns.
        return batch
    key = batch["key"].to_numpy()
    batch = batch.drop_columns(["key"])
    # Equal rows have the same key, and seldom others do.
    return deduplicate(batch.sort_by("order")) if (key[1:] == key[:-1]).any() else batch


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
