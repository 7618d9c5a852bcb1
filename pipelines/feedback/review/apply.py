"""People's labels override a judge's: a pure function over judged answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from actors.contract.conversation import answer_key, transcripts
from actors.contract.records import LABELS, Label
from actors.files.shards import strings


def apply_labels(judgments: pa.Table, labels: Mapping[str, Label]) -> tuple[pa.Table, int]:
    """Judged answers with people's labels in place of the judge's, and of how many rows that is true.

    The label is replaced and its probability is 1; a judge's missing verdict is filled in, its coverage then 1. What
    is not labelled stays as it is, and so does the table it came from.

    Args:
        judgments: any columns of `JUDGMENT_SCHEMA`, among them prompt, answer and label.
        labels: by `answer_key`.
    """
    # People were shown the whole conversation.
    pairs = zip(transcripts(judgments), strings(judgments, "answer"), strict=True) if labels else ()
    human = [labels.get(answer_key(prompt, answer)) for prompt, answer in pairs]
    told = np.array([label is not None for label in human], dtype=bool)
    if not told.any():
        return judgments, 0
    replaced = {name: [1.0 if label == name else 0.0 for label in human] for name in LABELS}
    judgments = _put(judgments, "label", human, told)
    for name, values in replaced.items():
        judgments = _put(judgments, f"p_{name.lower()}", values, told)
    return _put(judgments, "coverage", [1.0] * len(human), told), int(told.sum())


def _put(table: pa.Table, column: str, values: Sequence[object], where: NDArray[np.bool_]) -> pa.Table:
    """The table with `values` in the rows `where` says, if it has that column."""
    if column not in table.column_names:
        return table
    place = table.column_names.index(column)
    field = table.schema.field(column)
    new = pc.if_else(pa.array(where), pa.array(values, field.type), table[column])
    return table.set_column(place, field, new)
