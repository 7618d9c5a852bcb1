"""People's labels override a judge's, in the rows they are about and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.contract.conversation import answer_key
from pipelines.alignment.rows.judged import kto_rows
from pipelines.config.preference import PreferenceConfig
from pipelines.config.scores import ScoreTable
from pipelines.feedback.review.apply import apply_labels
from pipelines.feedback.review.consensus import settle
from pipelines.feedback.review.labels import LabelLog
from tests.pipelines.feedback.review.answered import SURE, answered, judgment_table, labels_of
from tests.rows import judgments, prompt

ROWS = [answered(1, SURE), answered(2, None), answered(3, SURE), answered(1, SURE)]


def test_label_and_probabilities_are_replaced_and_counted() -> None:
    table = judgment_table(ROWS)
    labels = {answer_key("request 1", "answer 1"): "Refuse", answer_key("request 2", "answer 2"): "Caution"}
    made, count = apply_labels(table, labels)  # type: ignore[arg-type]
    assert count == 3
    assert labels_of(made) == ["Refuse", "Caution", "Accept", "Refuse"]
    p = [made[name].to_pylist() for name in ("p_accept", "p_caution", "p_refuse")]
    assert list(zip(*p, strict=True))[:2] == [(0, 0, 1), (0, 1, 0)]
    assert made.slice(2, 1).equals(table.slice(2, 1)) and made.schema.equals(table.schema)
    assert labels_of(table) == ["Accept", None, "Accept", "Accept"]


@pytest.mark.parametrize("labels", [{}, {"0" * 32: "Accept"}])
def test_without_a_label_the_table_is_the_same_one(labels: dict[str, str]) -> None:
    table = judgment_table(ROWS)
    assert apply_labels(table, labels) == (table, 0)  # type: ignore[arg-type]


def test_only_the_columns_a_step_has_are_needed() -> None:
    table = judgment_table(ROWS).select(["prompt", "answer", "label"])
    made, count = apply_labels(table, {answer_key("request 2", "answer 2"): "Accept"})
    assert (labels_of(made)[1], count, made.column_names) == ("Accept", 1, table.column_names)


def test_a_reviewed_answer_changes_sides_in_the_rows(tmp_path: Path) -> None:
    of = prompt(1, 3)
    judged = judgments([(of, "Sure, here is how", "Refuse"), (of, "No.", "Refuse")])
    log = LabelLog(tmp_path)
    log.add(of.prompt, "Sure, here is how", "Accept", "alice")
    reviewed, _ = apply_labels(judged, settle(log.standing()).labels())
    before, after = (
        {row["completion"]: row["label"] for row in kto_rows(table, PreferenceConfig(), ScoreTable()).to_pylist()}
        for table in (judged, reviewed)
    )
    assert before == {"Sure, here is how": True, "No.": True}
    assert after == {"Sure, here is how": False, "No.": True}
