"""What is one piece of evidence: the prompts that are resampled together (`decide.cluster`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from actors.errors import SalusError
from pipelines.config.decision import Cluster
from pipelines.data.clinic.acts import EVERY
from pipelines.measures.bootstrap import Ints

# Between the parts of a clinic's base prompt, of which the harmful act is the first.
_PARTS = " / "
_ACTS = frozenset(act.text for act in EVERY.harmful)


def clusters(judgments: pa.Table, by: Cluster) -> Ints:
    """A number for the cluster of each row, from 0, shape (rows,).

    A row without a value (no principle, an act that is not the clinic's) belongs to its base prompt. Rewrites of one
    base prompt are never apart: clusters that share one are one cluster.

    Args:
        judgments: rows of `JUDGMENT_SCHEMA`.
        by: what is one piece of evidence.

    Raises:
        SalusError: the judgments lack the column.
    """
    bases = codes(judgments, "base_prompt")
    if by == "base_prompt" or not len(bases):
        return bases
    if by == "act":
        values = [_act(str(base)) for base in judgments["base_prompt"].to_pylist()]
    else:
        values = _column(judgments, by).to_pylist()
    return _joined(bases, values)


def codes(judgments: pa.Table, column: str) -> Ints:
    """A number for each value of a column, from 0, shape (rows,)."""
    # Encoded whole, as chunks may have encodings of their own.
    indices = _column(judgments, column).combine_chunks().dictionary_encode().indices
    return np.asarray(indices.to_numpy(), dtype=np.int64)


def _column(judgments: pa.Table, name: str) -> pa.ChunkedArray[Any]:
    if name not in judgments.column_names:
        raise SalusError(f"The judgments have no column {name!r}: they must follow JUDGMENT_SCHEMA.")
    return judgments[name]


def _act(base: str) -> str | None:
    harmful, parts, _ = base.partition(_PARTS)
    return harmful if parts and harmful in _ACTS else None


def _joined(bases: Ints, values: Sequence[object]) -> Ints:
    """The connected parts of the graph of base prompts and values."""
    # Half a second, which every reading of a recipe would pay.
    from scipy import sparse
    from scipy.sparse import csgraph

    known = {value: number for number, value in enumerate(dict.fromkeys(v for v in values if v is not None))}
    first = int(bases.max()) + 1
    ends = np.array([first + known[v] if v is not None else base for v, base in zip(values, bases, strict=True)])
    size = first + len(known)
    edges = sparse.coo_matrix((np.ones(len(bases)), (bases, ends)), shape=(size, size))
    _, part = csgraph.connected_components(edges, directed=False)
    _, numbers = np.unique(part[bases], return_inverse=True)
    return np.asarray(numbers, dtype=np.int64)
