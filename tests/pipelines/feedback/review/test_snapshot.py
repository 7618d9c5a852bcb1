"""The labels a cycle is trained with are decided once; what people say later is for the next cycle."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.contract.conversation import answer_key
from actors.contract.run_folder import RunFolder
from actors.errors import SalusError
from actors.files.shards import read_folder, write_text
from pipelines.config.load import load_recipe, save_recipe
from pipelines.feedback.review.labels import LabelLog
from pipelines.feedback.review.snapshot import cycle_reviews
from pipelines.runs.checksums import file_names
from pipelines.runs.finished.lineage import lineage
from pipelines.runs.finished.shape import shape_of
from pipelines.runs.open import check_same
from tests.pipelines.feedback.review.answered import answered, write_judgments

KEY = answer_key("request 1", "answer 1")


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return write_judgments(tmp_path / "run", 1, [answered(1), answered(1), answered(2)])


@pytest.fixture
def log(tmp_path: Path) -> LabelLog:
    made = LabelLog(tmp_path / "labels")
    made.add("request 1", "answer 1", "Refuse", "alice")
    return made


def test_the_first_look_decides(folder: RunFolder, log: LabelLog) -> None:
    judgments = [folder.judgments(1)]
    first = cycle_reviews(folder, 1, log.path.parent, judgments)
    assert first is not None and first.labels == {KEY: "Refuse"}
    assert (first.report.labels, first.report.ties, first.report.overridden) == (1, 0, 2)
    log.add("request 2", "answer 2", "Caution", "alice")
    log.add("request 1", "answer 1", "Accept", "bob")
    # Also where the resumed run's recipe names other labels, or none.
    assert cycle_reviews(folder, 1, log.path.parent, judgments) == first
    assert cycle_reviews(folder, 1, None, judgments) == first
    second = cycle_reviews(folder, 2, log.path.parent, judgments)
    assert second is not None and (second.labels, second.report.ties) == (
        {answer_key("request 2", "answer 2"): "Caution"},
        1,
    )


def test_reviewers_are_not_named_in_the_run(folder: RunFolder, log: LabelLog) -> None:
    cycle_reviews(folder, 1, log.path.parent, [folder.judgments(1)])
    kept = read_folder(folder.reviews(1))
    assert "reviewer" not in kept.column_names
    assert not any(b"alice" in path.read_bytes() for path in folder.root.rglob("*") if path.is_file())


def test_judgments_on_disk_stay_as_they_are(folder: RunFolder, log: LabelLog) -> None:
    before = read_folder(folder.judgments(1))
    cycle_reviews(folder, 1, log.path.parent, [folder.judgments(1)])
    assert read_folder(folder.judgments(1)).equals(before)


def test_a_cycle_begun_without_labels_goes_on_without(folder: RunFolder, log: LabelLog) -> None:
    write_text("{}", folder.rows(1, "unpaired") / "report.json")
    assert cycle_reviews(folder, 1, log.path.parent, []) is None
    assert not folder.reviews(1).exists()


def test_no_setting_no_labels(folder: RunFolder) -> None:
    assert cycle_reviews(folder, 1, None, []) is None


def test_an_empty_folder_of_labels_is_a_beginning_and_a_missing_one_a_mistake(
    folder: RunFolder, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    found = cycle_reviews(folder, 1, tmp_path / "empty", [folder.judgments(1)])
    assert found is not None and found.labels == {} and found == cycle_reviews(folder, 1, None, [])
    with pytest.raises(SalusError, match="There is no folder of labels"):
        cycle_reviews(folder, 2, tmp_path / "mistyped", [])


def test_rows_are_made_from_the_snapshot_in_the_manifest(folder: RunFolder, log: LabelLog) -> None:
    cycle_reviews(folder, 1, log.path.parent, [folder.judgments(1)])
    write_text("{}", folder.rows(1, "unpaired") / "report.json")
    nodes = {node.path: node for node in lineage(shape_of(folder, load_recipe("demo"), file_names(folder)))}
    assert nodes["cycles/01/reviews"].kind == "reviews"
    assert "cycles/01/reviews" in nodes["cycles/01/rows/kto"].made_from


def test_labels_may_be_named_while_a_run_goes_on(folder: RunFolder) -> None:
    save_recipe(load_recipe("demo"), folder.recipe)
    check_same(load_recipe("demo", ["preference.reviews=labels"]), folder)
    with pytest.raises(SalusError, match="other settings"):
        check_same(load_recipe("demo", ["preference.replay=false"]), folder)
