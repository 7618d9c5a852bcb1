"""Questions out of their scored options."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from actors.errors import SalusError
from actors.files.shards import strings
from pipelines.config.capability import LengthUnit
from pipelines.measures.multiple_choice import OptionLengths


def scored_questions(
    scores: pa.Table, normalised_by: LengthUnit | None
) -> tuple[list[str], list[list[float]], NDArray[np.int64], OptionLengths | None]:
    """Of each question: its name, its options' log-likelihoods, the place of the right one, and the lengths.

    Args:
        scores: rows of `actors.engine.likelihood.SCORE_SCHEMA`, in any order.
        normalised_by: what each option's log-likelihood is to be divided by.

    Raises:
        SalusError: a question without exactly one right option.
    """
    scores = scores.sort_by([("item_id", "ascending"), ("option", "ascending")])
    items = np.array(strings(scores, "item_id"))
    starts = np.flatnonzero(np.concatenate([[True], items[1:] != items[:-1]])) if len(items) else np.zeros(0, np.int64)
    right = scores["right"].to_numpy().astype(np.int64)
    if len(items) and not (np.add.reduceat(right, starts) == 1).all():
        bad = items[starts[np.flatnonzero(np.add.reduceat(right, starts) != 1)[0]]]
        raise SalusError(f"Question {bad} has not exactly one right option: give its options once, one of them right.")
    # One row of `right` per question is 1; its place within the question is the answer.
    answers = np.flatnonzero(right) - starts
    likelihoods = [part.tolist() for part in np.split(scores["log_likelihood"].to_numpy(), starts[1:])]
    lengths = None
    if normalised_by is not None:
        column = scores["tokens"] if normalised_by == "tokens" else pc.utf8_length(scores["continuation"])
        parts = np.split(column.to_numpy().astype(np.int64), starts[1:])
        lengths = OptionLengths(unit=normalised_by, lengths=tuple(tuple(part.tolist()) for part in parts))
    return items[starts].tolist(), likelihoods, answers, lengths
