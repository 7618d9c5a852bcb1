"""Labels as the file that a judge is held against: read back by the very reader of `salus judge calibrate`."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from actors.errors import SalusError
from pipelines.feedback.review.consensus import Settled, settle
from pipelines.feedback.review.export import export_labels
from pipelines.feedback.review.labels import LabelLog
from pipelines.judges.human_labels import read_human_labels

ANSWERS = (
    "plain",
    'with "quotes", commas\nand lines',
    "a\rb",
    '=HYPERLINK("http://evil.example")',
    "\u2028 \U0001f600",
)


def settled(folder: Path) -> Settled:
    log = LabelLog(folder)
    for i, answer in enumerate(ANSWERS):
        log.add("what, then?", answer, "Caution", "alice", "control" if i == 0 else "informative")
    log.add("empty", " ", "Refuse", "alice")
    for reviewer, label in (("alice", "Accept"), ("bob", "Refuse")):
        log.add("tied", "either", label, reviewer)  # type: ignore[arg-type]
    return settle(log.standing())


@pytest.mark.parametrize("name", ["gold.csv", "gold.jsonl"])
def test_the_calibration_reads_what_is_written(tmp_path: Path, name: str) -> None:
    done = export_labels(settled(tmp_path), tmp_path / "out" / name)
    assert (done.labels, done.ties, done.blank) == (len(ANSWERS), 1, 1)
    human = read_human_labels(tmp_path / "out" / name)
    assert [(a.prompt, a.answer, a.label) for a in human.answers] == [
        ("what, then?", answer.strip(), "Caution") for answer in ANSWERS
    ]
    assert len({a.prompt_id for a in human.answers}) == 1
    assert (tmp_path / "out" / name).stat().st_mode & 0o077 == 0


def test_comments_of_all_reviewers_are_in_the_file_and_labels_still_read(tmp_path: Path) -> None:
    log = LabelLog(tmp_path / "labels")
    for reviewer, comment in (("alice", 'half, "really"\nhalf'), ("bob", ""), ("carol", "<b>no</b>")):
        log.add("request", "answer", "Caution", reviewer, comment=comment)
    export_labels(settle(log.standing()), tmp_path / "gold.csv")
    export_labels(settle(log.standing()), tmp_path / "gold.jsonl")
    wanted = 'half, "really"\nhalf\n\n<b>no</b>'
    with (tmp_path / "gold.csv").open(newline="") as file:
        assert [row["comment"] for row in csv.DictReader(file)] == [wanted]
    assert json.loads((tmp_path / "gold.jsonl").read_text())["comment"] == wanted
    assert [each.label for each in read_human_labels(tmp_path / "gold.csv").answers] == ["Caution"]


def test_only_randomly_drawn_answers_where_they_are_asked_for(tmp_path: Path) -> None:
    assert export_labels(settled(tmp_path), tmp_path / "gold.csv", control_only=True).labels == 1
    (kept,) = read_human_labels(tmp_path / "gold.csv").answers
    assert kept.answer == "plain"


def test_what_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(SalusError, match=r"ends in neither \.csv nor \.jsonl"):
        export_labels(settled(tmp_path), tmp_path / "gold.xlsx")
    nothing = Settled(gold=(), ties=())
    with pytest.raises(SalusError, match="label more on the page"):
        export_labels(nothing, tmp_path / "gold.csv")
    (tmp_path / "file").write_text("")
    with pytest.raises(SalusError, match="cannot be written"):
        export_labels(settled(tmp_path), tmp_path / "file" / "gold.csv")
