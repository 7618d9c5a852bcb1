"""Labels come back from Argilla and Label Studio as their own exports hold them, and others are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from actors.errors import SalusError
from pipelines.cli.main import app
from pipelines.feedback.review.consensus import settle
from pipelines.feedback.review.export import export_labels
from pipelines.feedback.review.imported import import_labels
from pipelines.feedback.review.stored import read_labels
from pipelines.judges.human_labels import read_human_labels

TEXTS = [{"prompt": f"Question {i}?", "answer": f"Answer {i}."} for i in range(3)]
# As `records.to_json` of Argilla 2 writes them: one by two people, a draft, and one that no one has seen.
ARGILLA = [
    {
        "id": str(i),
        "status": status,
        "_server_id": None,
        "fields": texts,
        "metadata": {},
        "suggestions": {},
        "responses": {"label": [{"value": value, "user_id": who} for who, value in given], "note": [{"value": 3}]},
        "vectors": {},
    }
    for i, (texts, status, given) in enumerate(
        zip(
            TEXTS,
            ("completed", "pending", "pending"),
            ([("a", "Refuse"), ("b", "Refuse")], [("a", "Accept")], []),
            strict=True,
        )
    )
]


def annotation(label: str, who: Any, cancelled: bool = False) -> dict[str, Any]:
    choice = {"from_name": "label", "to_name": "prompt", "type": "choices", "value": {"choices": [label]}}
    other = {"from_name": "note", "to_name": "prompt", "type": "textarea", "value": {"text": ["odd"]}}
    return {"id": 1, "completed_by": who, "was_cancelled": cancelled, "result": [other, choice], "lead_time": 3.1}


# As the export format JSON of Label Studio holds them.
STUDIO = [
    {"id": 1, "data": TEXTS[0], "annotations": [annotation("Refuse", 1), annotation("Refuse", {"email": "b@c.org"})]},
    {"id": 2, "data": TEXTS[1], "annotations": [annotation("Accept", 1, cancelled=True)]},
    {"id": 3, "data": TEXTS[2], "annotations": []},
]


def put(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize(("name", "content"), [("argilla", ARGILLA), ("label-studio", STUDIO)])
def test_labels_come_back_and_calibrate_a_judge(name: str, content: Any, tmp_path: Path) -> None:
    file = put(tmp_path / name / "records.json", content)
    given = file.parent if name == "argilla" else file
    done = import_labels(given, tmp_path / "labels", "control")
    assert (done.source, done.labels, done.reviewers, done.unlabelled) == (name, 2, 2, 2)
    (gold,) = settle(read_labels(tmp_path / "labels")).gold
    assert (gold.prompt, gold.answer, gold.label, gold.drawn) == ("Question 0?", "Answer 0.", "Refuse", "control")
    lines = (tmp_path / "labels" / "labels.jsonl").read_text()
    import_labels(given, tmp_path / "labels", "control")
    assert (tmp_path / "labels" / "labels.jsonl").read_text() == lines
    export_labels(settle(read_labels(tmp_path / "labels")), tmp_path / "gold.csv")
    (answer,) = read_human_labels(tmp_path / "gold.csv").answers
    assert (answer.prompt, answer.label) == ("Question 0?", "Refuse")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ({"a": 1}, "is no list of tasks"),
        ([{"data": {"text": "x"}}], "prompt is not what Salus exported"),
        (
            [{"id": 1, "data": TEXTS[0], "annotations": [annotation("Perhaps", 1)]}],
            "a label is Accept, Caution or Refuse",
        ),
        (STUDIO[1:], "No answer in .* has a label"),
    ],
)
def test_what_is_none_of_ours_is_refused_and_nothing_is_kept(content: Any, why: str, tmp_path: Path) -> None:
    with pytest.raises(SalusError, match=why):
        import_labels(put(tmp_path / "labels.json", content), tmp_path / "labels")
    assert not (tmp_path / "labels").exists()


def test_no_json_is_refused_and_the_command_says_what_it_read(tmp_path: Path) -> None:
    (tmp_path / "labels.json").write_text("<xml>")
    with pytest.raises(SalusError, match="is not JSON"):
        import_labels(tmp_path / "labels.json", tmp_path / "labels")
    asked = ["review", "import", str(put(tmp_path / "project.json", STUDIO)), str(tmp_path / "labels")]
    assert CliRunner().invoke(app, asked).output.startswith("2 labels of 2 reviewers from label-studio in ")
