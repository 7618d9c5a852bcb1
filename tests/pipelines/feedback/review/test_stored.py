"""People's labels at an address: every machine sees them, none is lost, and a label that was not kept is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from actors.contract.conversation import answer_key
from actors.contract.run_folder import RunFolder
from actors.errors import SalusError
from pipelines.feedback.review.labels import LabelLog
from pipelines.feedback.review.snapshot import cycle_reviews
from pipelines.feedback.review.stored import StoredLabelLog, open_labels, read_labels
from pipelines.runs.store.connect import connect
from pipelines.runs.store.objects import Objects
from pipelines.runs.store.place import RemotePlace
from tests.pipelines.runs.store.conftest import Move


def key(answer: str) -> str:
    return answer_key("request", answer)


def test_every_machine_sees_every_label(place: RemotePlace, move_to: Move, tmp_path: Path) -> None:
    here = open_labels(str(place))
    assert isinstance(here, StoredLabelLog)
    here.add("request", "a", "Accept", "alice")
    move_to("b")
    # As a setting holds it, which is a path.
    there = open_labels(Path(str(place)))
    there.add("request", "b", "Refuse", "bob")
    assert here.standing().label_of("bob", key("b")) == "Refuse"
    here.add("request", "b", "Refuse", "alice")
    taken = there.undo("bob")
    assert taken is not None and taken.answer == "b"
    assert there.standing().label_of("alice", key("b")) == "Refuse"
    assert here.standing().label_of("bob", key("b")) is None
    # A cycle's rows take them from there.
    found = cycle_reviews(RunFolder(tmp_path / "run"), 1, Path(str(place)), [])
    assert found is not None and found.labels == {key("a"): "Accept", key("b"): "Refuse"}


def test_two_labels_at_once_are_both_kept(place: RemotePlace, move_to: Move, monkeypatch: pytest.MonkeyPatch) -> None:
    here = open_labels(str(place))
    here.add("request", "a", "Accept", "alice")
    move_to("b")
    other = open_labels(str(place))
    upload: Callable[[Objects, Path, str, str], None] = Objects.upload

    def late(self: Objects, source: Path, name: str, sha256: str) -> None:
        monkeypatch.setattr(Objects, "upload", upload)
        other.add("request", "b", "Caution", "bob")
        upload(self, source, name, sha256)

    monkeypatch.setattr(Objects, "upload", late)
    here.add("request", "c", "Refuse", "alice")
    for log in (here, other):
        standing = log.standing()
        assert standing.label_of("bob", key("b")) == "Caution" and standing.label_of("alice", key("c")) == "Refuse"


def test_a_label_that_did_not_reach_the_store_is_none(
    place: RemotePlace, move_to: Move, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = open_labels(str(place))
    log.add("request", "a", "Accept", "alice")
    upload = Objects.upload

    def down(self: Objects, source: Path, name: str, sha256: str) -> None:
        raise OSError("HTTP error: connection refused")

    monkeypatch.setattr(Objects, "upload", down)
    with pytest.raises(SalusError, match="connection refused"):
        log.add("request", "b", "Refuse", "alice")
    monkeypatch.setattr(Objects, "upload", upload)
    assert log.standing().label_of("alice", key("b")) is None
    log.add("request", "b", "Caution", "alice")
    assert read_labels(str(place)).label_of("alice", key("b")) == "Caution"


def test_no_labels_and_something_else_are_sentences(place: RemotePlace, move_to: Move, tmp_path: Path) -> None:
    with pytest.raises(SalusError, match=rf"no folder of labels {place}; label answers"):
        read_labels(str(place))
    assert type(open_labels(tmp_path)) is LabelLog
    assert not connect(place).list()
