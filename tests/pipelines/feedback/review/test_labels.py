"""Labels on disk: nothing that was promised is lost, and the last label of a reviewer counts."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from actors.contract.conversation import answer_key
from actors.contract.records import Label
from actors.errors import SalusError
from pipelines.feedback.review.consensus import settle
from pipelines.feedback.review.labels import LOG, LabelLog
from pipelines.feedback.review.stored import read_labels
from tests.power_cut import recorded
from tests.root import ROOT

KEY = answer_key("request", "answer")


def add(folder: Path, label: Label, reviewer: str = "alice", answer: str = "answer") -> None:
    LabelLog(folder).add("request", answer, label, reviewer)


def agreed(folder: Path) -> dict[str, Label]:
    return settle(read_labels(folder)).labels()


def test_the_last_label_of_a_reviewer_counts(tmp_path: Path) -> None:
    add(tmp_path, "Accept")
    add(tmp_path, "Refuse")
    assert agreed(tmp_path) == {KEY: "Refuse"}


def test_most_reviewers_decide_and_a_tie_counts_for_nothing(tmp_path: Path) -> None:
    add(tmp_path, "Refuse", "alice")
    add(tmp_path, "Accept", "bob")
    settled = settle(read_labels(tmp_path))
    assert settled.labels() == {} and settled.ties[0].votes == {"Accept": 1, "Refuse": 1}
    add(tmp_path, "Refuse", "carol")
    (gold,) = settle(read_labels(tmp_path)).gold
    assert (gold.label, gold.votes, gold.reviewers) == ("Refuse", 2, 3)


def test_undo_goes_back_label_by_label_and_only_through_ones_own(tmp_path: Path) -> None:
    log = LabelLog(tmp_path)
    for label, reviewer, answer in (("Accept", "alice", "a"), ("Refuse", "bob", "a"), ("Caution", "alice", "b")):
        log.add("request", answer, label, reviewer)  # type: ignore[arg-type]
    log.add("request", "a", "Refuse", "alice")
    undone = [log.undo("alice"), log.undo("alice")]
    assert [(vote.answer, vote.label) for vote in undone if vote] == [("a", "Refuse"), ("b", "Caution")]
    # The first label of the answer counts again, in another process too.
    assert read_labels(tmp_path).label_of("alice", answer_key("request", "a")) == "Accept"
    assert log.undo("alice") is not None and log.undo("alice") is None
    assert agreed(tmp_path) == {answer_key("request", "a"): "Refuse"}


def test_a_repeated_request_writes_nothing(tmp_path: Path) -> None:
    add(tmp_path, "Accept")
    before = (tmp_path / LOG).read_bytes()
    add(tmp_path, "Accept")
    assert (tmp_path / LOG).read_bytes() == before


def test_a_comment_is_kept_with_its_label_and_goes_with_it(tmp_path: Path) -> None:
    log = LabelLog(tmp_path)
    log.add("request", "answer", "Caution", "alice", comment=" it warns \n")
    log.add("request", "answer", "Caution", "alice", comment="it warns")
    assert (tmp_path / LOG).read_text().count("\n") == 1
    log.add("request", "answer", "Caution", "alice", comment="it warns, and helps")
    (vote,) = read_labels(tmp_path).votes(KEY)
    assert (vote.label, vote.comment) == ("Caution", "it warns, and helps")
    assert settle(log.standing()).gold[0].comments == ("it warns, and helps",)
    undone = log.undo("alice")
    assert undone is not None and undone.comment == "it warns, and helps"
    assert [vote.comment for vote in read_labels(tmp_path).votes(KEY)] == ["it warns"]
    # Nothing is deleted: the log has what was withdrawn, and that it was.
    assert (tmp_path / LOG).read_text().count("\n") == 3
    with pytest.raises(SalusError, match="at most 2,000 characters"):
        log.add("request", "answer", "Accept", "alice", comment="x" * 2001)


def test_a_log_of_an_earlier_version_has_no_comments(tmp_path: Path) -> None:
    add(tmp_path, "Accept")
    line = json.loads((tmp_path / LOG).read_text())
    del line["comment"]
    (tmp_path / LOG).write_text(json.dumps(line) + "\n")
    assert [vote.comment for vote in read_labels(tmp_path).votes(KEY)] == [""]


def test_texts_keep_their_every_character(tmp_path: Path) -> None:
    text = 'a\u2028b\x0bc\x85d\r\n"e",\tf \U0001f600 <script>'
    add(tmp_path, "Accept", answer=text)
    add(tmp_path, "Refuse", answer="next")
    assert [votes[0].answer for votes in read_labels(tmp_path).answers()] == [text, "next"]
    assert (tmp_path / LOG).stat().st_mode & 0o077 == 0


def test_what_a_dead_process_left_of_a_line_is_passed_over_and_removed(tmp_path: Path) -> None:
    add(tmp_path, "Accept")
    with (tmp_path / LOG).open("a") as log:
        log.write('{"action":"label","key":"')
    assert agreed(tmp_path) == {KEY: "Accept"}
    add(tmp_path, "Refuse")
    assert agreed(tmp_path) == {KEY: "Refuse"}
    assert (tmp_path / LOG).read_text().count("\n") == 2


def test_nothing_that_was_promised_is_lost_with_the_process(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.pipelines.feedback.review.kept_labels", str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        promised = [int(writer.stdout.readline()) for _ in range(20)]
        writer.kill()
        promised += [int(line) for line in writer.stdout if line.endswith("\n")]
    known = agreed(tmp_path)
    assert all(known[answer_key(f"request {number}", "answer")] == "Refuse" for number in promised)
    add(tmp_path, "Accept")
    assert len(agreed(tmp_path)) == len(known) + 1


def test_several_writers_follow_each_other(tmp_path: Path) -> None:
    logs = [LabelLog(tmp_path) for _ in range(4)]
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda i: logs[i % 4].add("request", str(i), "Accept", f"reviewer {i % 4}"), range(40)))
    assert len(agreed(tmp_path)) == 40 and all(log.standing().keys() == logs[0].standing().keys() for log in logs)


def test_another_file_in_its_place_is_read_anew(tmp_path: Path) -> None:
    log = LabelLog(tmp_path)
    log.add("request", "answer", "Accept", "alice")
    log.add("request", "other", "Accept", "alice")
    add(tmp_path / "copy", "Refuse")
    (tmp_path / "copy" / LOG).replace(tmp_path / LOG)
    assert log.standing().keys() == {KEY}
    (tmp_path / LOG).unlink()
    assert log.standing().keys() == set()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{}", "line 2 is no label"),
        ('{"action":"undo","key":"' + "0" * 32 + '","reviewer":"alice","at":"now"}', "line 2 takes back"),
    ],
)
def test_a_damaged_line_is_named(tmp_path: Path, line: str, words: str) -> None:
    add(tmp_path, "Accept")
    with (tmp_path / LOG).open("a") as log:
        log.write(line + "\n")
    with pytest.raises(SalusError, match=words):
        read_labels(tmp_path)


def test_labels_need_a_folder_and_a_reviewer(tmp_path: Path) -> None:
    with pytest.raises(SalusError, match="There is no folder of labels"):
        read_labels(tmp_path / "none")
    with pytest.raises(SalusError, match="name of its reviewer"):
        add(tmp_path, "Accept", reviewer=" ")
    (tmp_path / "file").write_text("")
    with pytest.raises(SalusError, match="cannot be used"):
        add(tmp_path / "file", "Accept")


def test_labels_survive_a_power_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with recorded(tmp_path, monkeypatch) as tape:
        for answer in ("a", "b"):
            add(tmp_path / "labels", "Refuse", answer=answer)
            tape.acknowledge(answer)
        LabelLog(tmp_path / "labels").undo("alice")
        tape.acknowledge("undone")
    stages: list[set[str]] = [set(), {"a"}, {"a", "b"}, {"a"}]
    for done in tape.crashes():
        known = LabelLog(tmp_path / "labels").standing().keys()
        assert known in (
            {answer_key("request", answer) for answer in stage} for stage in stages[len(done) : len(done) + 2]
        )
