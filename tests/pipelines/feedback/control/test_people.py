"""People as the reference: a blind queue, a deadline, and labels that are asked for once."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from actors.contract.run_folder import RunFolder
from actors.files.private import private_files
from actors.files.shards import strings
from pipelines.cli.main import app
from pipelines.config.load import save_recipe
from pipelines.decision.control import least_labels, read_control
from pipelines.feedback.control.labels import label_control
from pipelines.feedback.control.people import LabelsMissing, Patience
from pipelines.feedback.control.queue import ControlQueue
from pipelines.feedback.review.labels import LabelLog
from pipelines.serving.dashboard.pages_data import PagesData
from tests.actors.serve.pages.fakes import Gateway, app_of, get, post
from tests.pipelines.feedback.control.contenders import contenders, decision, recipe, truth_of
from tests.quiet_reporter import QuietReporter, SaidReporter

LEFT = 80


class Clock:
    """Time that passes only while one sleeps; `meanwhile` is what others do in it."""

    def __init__(self, meanwhile: Callable[[], object] = lambda: None) -> None:
        self.now_s, self._meanwhile = 0.0, meanwhile

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        self._meanwhile()

    def patience(self, minutes: float, check: Callable[[], None] = lambda: None) -> Patience:
        return Patience(minutes, check, now=lambda: self.now_s, sleep=self.sleep)


def asked(tmp_path: Path, clock: Clock, *changes: str, minutes: float = 1.0) -> RunFolder:
    folder = RunFolder(tmp_path / "run")
    label_control(
        recipe(tmp_path / "labels", *changes), folder, 1, contenders(), QuietReporter(), clock.patience(minutes)
    )
    return folder


def label(tmp_path: Path, most: int) -> None:
    """A reviewer labels the first of what waits, rightly."""
    log = LabelLog(tmp_path / "labels")
    known = log.standing().keys()
    waiting = [place for place in ControlQueue(RunFolder(tmp_path / "run")).places() if place.key not in known]
    for place in waiting[:most]:
        log.add(place.row.prompt, place.row.answer, truth_of(place.row.answer), "alice", place.drawn)


def test_a_cycle_waits_until_all_is_labelled_and_decides_on_it(tmp_path: Path) -> None:
    clock = Clock(lambda: label(tmp_path, 10))
    folder = asked(tmp_path, clock, minutes=60.0)
    control = read_control(folder.control(1))
    assert control is not None and control.num_rows == LEFT and control["reference_label"].null_count == 0
    assert set(control["reference"].to_pylist()) == {"people"}
    # It went on as soon as it could.
    assert 0.0 < clock.now_s < 60.0
    decided = decision(recipe(tmp_path / "labels"), folder)
    assert (decided.chosen, decided.publish, decided.correction) == ("kto", True, "corrected")
    assert decided.challengers[0].judge is not None and decided.challengers[0].judge.reference == "people"
    assert ControlQueue(folder).places() == []


def test_the_run_stops_at_the_deadline_and_the_same_command_goes_on(tmp_path: Path) -> None:
    clock = Clock()
    with pytest.raises(LabelsMissing) as stopped:
        asked(tmp_path, clock)
    assert clock.now_s == 60.0
    told = stopped.value.sentence
    assert "80 of 80 control answers of cycle 1 have no label by people" in told
    assert "run the same command again" in told and f"pages.labels={tmp_path / 'labels'}" in told
    folder = RunFolder(tmp_path / "run")
    assert not folder.control(1).exists()
    order = [place.key for place in ControlQueue(folder).places()]
    label(tmp_path, 30)
    with pytest.raises(LabelsMissing, match="50 of 80"):
        asked(tmp_path, Clock(), minutes=0.0)
    # The same answers in the same order: none is asked for twice.
    assert [place.key for place in ControlQueue(folder).places()] == order
    label(tmp_path, 50)
    asked(tmp_path, Clock(), minutes=0.0)
    assert decision(recipe(tmp_path / "labels"), folder).chosen == "kto"


def test_the_champion_stays_where_the_recipe_says_so(tmp_path: Path) -> None:
    label(tmp_path, 0)
    folder = asked(tmp_path, Clock(), "decide.control.late=stay", minutes=0.0)
    decided = decision(recipe(tmp_path / "labels"), folder)
    (kto,) = decided.challengers
    assert (decided.chosen, decided.reason, kto.standing) == ("champion", "judge_unchecked", "judge_unchecked")
    assert "too few control answers have a trusted label" in decided.sentence
    assert "0 of the 40 control answers of the kto have a label of both judge and reference (people)" in kto.sentence
    assert not decided.publish


def test_few_labels_are_no_check_that_passed_and_half_of_them_are(tmp_path: Path) -> None:
    assert [least_labels(n) for n in (4, 10, 15, 40, 41)] == [4, 10, 10, 20, 21]
    with pytest.raises(LabelsMissing):
        asked(tmp_path, Clock(), minutes=0.0)
    queue = ControlQueue(RunFolder(tmp_path / "run")).places()
    by_policy = {name: [p for p in queue if f"({name}," in p.row.answer] for name in ("c0-base", "c1-kto")}
    log = LabelLog(tmp_path / "labels")

    def give(name: str, count: int) -> None:
        for place in by_policy[name][:count]:
            log.add(place.row.prompt, place.row.answer, truth_of(place.row.answer), "alice")

    give("c1-kto", 40)
    give("c0-base", 19)
    with pytest.raises(LabelsMissing, match="19 of the 40 control answers of the champion"):
        asked(tmp_path, Clock(), minutes=0.0)
    give("c0-base", 20)
    # Enough of both: the deadline has passed, and the decision is made on what there is.
    folder = asked(tmp_path, Clock(), minutes=0.0)
    assert decision(recipe(tmp_path / "labels"), folder).chosen == "kto"


def test_nobody_is_asked_about_answers_that_the_judge_did_not_label(tmp_path: Path) -> None:
    """A challenger whose answers no judge can label cannot win, so that no cycle waits for labels of them."""
    tables = contenders()
    broken = tables["kto"].set_column(
        tables["kto"].schema.get_field_index("label"), "label", pa.nulls(tables["kto"].num_rows, pa.string())
    )
    judged = {"champion": tables["champion"], "kto": tables["kto"], "dpo": broken}
    folder, by = RunFolder(tmp_path / "run"), recipe(tmp_path / "labels")

    def ask() -> None:
        label_control(by, folder, 1, judged, QuietReporter(), Clock().patience(0.0))

    with pytest.raises(LabelsMissing, match="80 of 80 control answers"):
        ask()
    # Enough of those that labels can help, if not all.
    label(tmp_path, LEFT - 1)
    ask()
    control = read_control(folder.control(1))
    assert control is not None and control.num_rows == 120
    # The broken one says the same as the other: one answer of each is left.
    assert control["reference_label"].null_count == 2


def test_labels_that_come_after_the_decision_change_nothing_it_rests_on(tmp_path: Path) -> None:
    folder = asked(tmp_path, Clock(), "decide.control.late=stay", minutes=0.0)
    before = folder.control(1).read_bytes()
    folder.decision(1).write_text("{}")
    log = LabelLog(tmp_path / "labels")
    for row in pq.read_table(folder.control_work(1) / "queue.parquet").to_pylist():
        log.add(row["prompt"], row["answer"], "Refuse", "alice")
    asked(tmp_path, Clock(), "decide.control.late=stay", minutes=0.0)
    assert folder.control(1).read_bytes() == before


def test_a_run_says_once_that_it_waits_and_where(tmp_path: Path) -> None:
    heard, folder = SaidReporter(), RunFolder(tmp_path / "run")
    by, clock = recipe(tmp_path / "labels"), Clock(lambda: label(tmp_path, 30))
    label_control(by, folder, 1, contenders(), heard, clock.patience(60.0))
    (said,) = heard.said
    assert said.startswith("cycle 1: 80 control answers wait for people's labels on the page /review")
    assert f"pages.run={tmp_path / 'run'}" in said


def test_waiting_can_be_broken_off_and_taken_up_again(tmp_path: Path) -> None:
    def interrupt() -> None:
        label(tmp_path, 5)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        asked(tmp_path, Clock(interrupt))
    asked(tmp_path, Clock(lambda: label(tmp_path, 25)), minutes=60.0)
    given = (tmp_path / "labels" / "labels.jsonl").read_text().splitlines()
    assert len(given) == len({json.loads(line)["key"] for line in given}) == LEFT


def test_a_lost_run_folder_ends_the_waiting(tmp_path: Path) -> None:
    def lost() -> None:
        raise LabelsMissing("Another process has the folder.")

    folder = RunFolder(tmp_path / "run")
    patience = Clock().patience(60.0, lost)
    with pytest.raises(LabelsMissing, match="Another process"):
        label_control(recipe(tmp_path / "labels"), folder, 1, contenders(), QuietReporter(), patience)


def test_the_queue_is_private_and_says_nothing_of_judge_and_policy(tmp_path: Path) -> None:
    with private_files(), pytest.raises(LabelsMissing):
        asked(tmp_path, Clock(), minutes=0.0)
    (file,) = RunFolder(tmp_path / "run").control_work(1).iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert pq.read_schema(file).names == ["key", "prompt", "answer", "level", "method"]
    save_recipe(recipe(tmp_path / "labels"), RunFolder(tmp_path / "run").recipe)
    listed = CliRunner().invoke(app, ["review", "list", str(tmp_path / "run")], env={"COLUMNS": "200"}).output
    assert "drawn at random to check the judge" in listed and "60 more." in listed
    # The contenders' answers are mixed.
    of_kto = ["(c1-kto," in answer for answer in strings(pq.read_table(file), "answer")]
    assert 5 < sum(of_kto[:40]) < 35


def test_reviewers_label_on_the_page_without_seeing_whose_answer_it_is(tmp_path: Path) -> None:
    with pytest.raises(LabelsMissing):
        asked(tmp_path, Clock(), minutes=0.0)
    page = Gateway(app_of(PagesData(tmp_path / "run", tmp_path / "labels")), "alice")
    while items := get(page, "/review/next?n=200").json()["items"]:
        for item in items:
            assert item["queue"] == "control" and "drawn at random to check the judge" in item["why"]
            assert [item[name] for name in ("policy", "judge", "judged", "p", "disagreement")] == [None] * 5
            given = post(page, "/review/label", {"key": item["key"], "label": truth_of(item["answer"])})
            assert given.status_code == 200
    folder = asked(tmp_path, Clock(), minutes=0.0)
    assert decision(recipe(tmp_path / "labels"), folder).chosen == "kto"
    assert {vote[0].reviewer for vote in LabelLog(tmp_path / "labels").standing().answers()} == {"alice"}
