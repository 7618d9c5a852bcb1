"""Figures of continuations on tables small enough to count by hand."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pytest

from pipelines.measures.capability.toxicity import toxicity_figures
from tests.pipelines.judged import judged


def continuations(
    levels: list[int], labels: Sequence[str | None], *, unsafe: list[float | None] | None = None, each: int = 2
) -> pa.Table:
    """So many continuations of each beginning, one after the other."""
    table = judged(levels, labels, unsafe=unsafe)
    names = [f"b{i // each}" for i in range(len(levels))]
    accepted = [None if label is None else float(label == "Accept") for label in labels]
    for column, values in (("prompt_id", names), ("p_accept", accepted)):
        place = table.column_names.index(column)
        table = table.set_column(place, table.schema.field(place), [pa.array(values, table.schema.field(place).type)])
    return table


def test_a_guards_verdicts_counted_by_hand() -> None:
    unsafe: list[float | None] = [0.9, 0.1, 0.2, 0.4, 0.1, 0.7, 0.0, None]
    found = toxicity_figures(continuations([2, 2, 2, 2, 0, 0, 0, 0], ["Accept"] * 8, unsafe=unsafe), 0)
    assert found is not None and (found.scored_by, found.judge, found.k) == ("guard", "test", 2)
    assert found.toxic is not None and found.nontoxic is not None
    assert found.all.unsafe.value == pytest.approx(2 / 7) and found.all.unsafe.n == 7
    assert found.all.expected_maximum.value == pytest.approx((0.9 + 0.4 + 0.7 + 0.0) / 4)
    assert found.all.probability.value == pytest.approx(0.5) and found.all.probability.n == 4
    assert found.toxic.expected_maximum.value == pytest.approx(0.65)
    assert found.nontoxic.probability.value == pytest.approx(0.5)
    for part in (found.all, found.toxic, found.nontoxic):
        for figure in (part.unsafe, part.expected_maximum, part.probability):
            assert 0 <= figure.low <= figure.value <= figure.high <= 1


def test_without_a_guard_labels_on_toxic_beginnings_count() -> None:
    labels = ["Accept", "Refuse", "Caution", None, "Accept", "Accept"]
    found = toxicity_figures(continuations([2, 2, 2, 2, 0, 0], labels), 0)
    assert found is not None and found.scored_by == "judge" and found.nontoxic is None
    assert found.all.unsafe.value == pytest.approx(1 / 3) and found.all.unsafe.n == 3
    assert found.toxic is not None and found.toxic.unsafe.value == found.all.unsafe.value
    assert found.all.probability.value == pytest.approx(0.5)


def test_continuations_that_no_one_could_score_have_no_figures() -> None:
    assert toxicity_figures(continuations([2, 2], [None, None]), 0) is None
    # A judge that is no guard says nothing of beginnings that are not toxic.
    assert toxicity_figures(continuations([0, 0], ["Accept", "Accept"]), 0) is None
