"""Feedback in a store: what a folder holds, no more and no less, from several folders, as a reader fetches it."""

from __future__ import annotations

import time
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from actors.errors import SalusError
from actors.serve.feedback.config import FeedbackConfig
from actors.serve.feedback.journal import Journal
from actors.serve.feedback.records import CAPTURES, FEEDBACK
from pipelines.cli.main import app
from pipelines.feedback.items import read_items
from pipelines.feedback.uploads import FeedbackUploads, uploading
from pipelines.runs.inputs import fetch_input
from pipelines.runs.store.connect import connect
from pipelines.runs.store.objects import Objects
from pipelines.runs.store.place import RemotePlace
from tests.actors.serve.feedback.given import NOON, captured, said, write_folder
from tests.pipelines.runs.store.conftest import Move

DAY = timedelta(days=1)


class At:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now: datetime = NOON + timedelta(hours=1)

    def __call__(self) -> datetime:
        return self.now


def config(folder: Path, place: RemotePlace, retention_days: int | None = 90) -> FeedbackConfig:
    return FeedbackConfig(folder=folder, store=str(place), capture="opt_in", retention_days=retention_days)


def fetched(place: RemotePlace) -> dict[str, str | None]:
    """The verdicts by answer, and the answers, as another machine reads them."""
    items = read_items(fetch_input(str(place), "preference.feedback.path", lambda line: None))
    return {f"{row['answer_id']}: {row['verdict']}": row["answer"] for row in items.to_pylist()}


def files(place: RemotePlace) -> list[str]:
    return sorted(connect(place).list())


def append(folder: Path, kind: str, *items: object) -> None:
    chosen = {each.name: each for each in (CAPTURES, FEEDBACK)}[kind]
    with closing(Journal(folder / kind, chosen)) as journal:
        journal.append(list(items))  # type: ignore[arg-type]


def test_a_reader_fetches_what_the_folder_holds(place: RemotePlace, move_to: Move, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "feedback", [captured("a"), captured("b")], [said("a", "up")])
    uploads = FeedbackUploads(config(folder, place), at := At())
    uploads.step()
    assert fetched(place) == {"a: up": "In the fridge."}
    there = files(place)
    assert [name.partition("/")[0] for name in there] == ["captures", "feedback"]
    # Nothing is sent twice; what a caller changed replaces what it said.
    uploads.step()
    assert files(place) == there
    at.now += timedelta(minutes=1)
    append(folder, "feedback", said("a", "down", minutes=61), said("b", "up", minutes=61))
    uploads.step()
    assert fetched(place) == {"a: down": "In the fridge.", "b: up": "In the fridge."}
    assert len(files(place)) == 2 and files(place)[0] == there[0]
    # Started anew, it knows its files.
    FeedbackUploads(config(folder, place), at).step()
    assert len(files(place)) == 2
    shown = CliRunner().invoke(app, ["feedback", "show", str(place)], env={"COLUMNS": "200"})
    assert shown.exit_code == 0 and "2 in all" in shown.output


def test_a_day_is_a_file_and_what_expires_is_gone(place: RemotePlace, move_to: Move, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "feedback", [captured("a")], [said("a", "up")])
    settings, at = config(folder, place, retention_days=2), At()
    uploads = FeedbackUploads(settings, at)
    uploads.step()
    at.now += DAY
    append(folder, "captures", captured("b", at=NOON + DAY))
    append(folder, "feedback", said("b", "up", minutes=24 * 60))
    uploads.step()
    assert len(files(place)) == 4 and fetched(place).keys() == {"a: up", "b: up"}
    # As the endpoint does with what is too old.
    at.now += 2 * DAY
    for kind in (CAPTURES, FEEDBACK):
        with closing(Journal(folder / kind.name, kind)) as journal:
            journal.expire(NOON + DAY / 2)
    uploads.step()
    assert fetched(place).keys() == {"b: up"}
    # Another folder's files go when all of them is too old, whoever uploads.
    at.now += 4 * DAY
    other = write_folder(tmp_path / "other", [captured("c", at=at.now)], [])
    FeedbackUploads(config(other, place, retention_days=2), at).step()
    assert fetched(place) == {}
    assert len(files(place)) == 2


def test_two_folders_add_to_one_place(place: RemotePlace, move_to: Move, tmp_path: Path) -> None:
    first = write_folder(tmp_path / "first", [captured("a")], [said("a", "up")])
    second = write_folder(tmp_path / "second", [captured("b")], [said("b", "down")])
    for folder in (first, second, first):
        FeedbackUploads(config(folder, place), At()).step()
    assert fetched(place).keys() == {"a: up", "b: down"}
    assert len(files(place)) == 4


def test_what_fails_is_said_and_sent_later(
    place: RemotePlace, move_to: Move, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_folder(tmp_path / "feedback", [captured("a")], [said("a", "up")])
    upload, told = Objects.upload, list[str]()

    def down(self: Objects, source: Path, name: str, sha256: str) -> None:
        raise OSError("HTTP error: connection refused")

    monkeypatch.setattr(Objects, "upload", down)
    with uploading([config(folder, place), FeedbackConfig()], told.append, every_s=0.01):
        until = time.monotonic() + 20
        while not told and time.monotonic() < until:
            time.sleep(0.01)
        monkeypatch.setattr(Objects, "upload", upload)
    assert "feedback was not uploaded" in told[0] and str(place) in told[0]
    # At the end comes what is left.
    assert fetched(place).keys() == {"a: up"}


def test_a_store_that_is_none_is_told_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(SalusError, match="is no address; give one such as s3://BUCKET/FEEDBACK"):
        FeedbackUploads(FeedbackConfig(folder=tmp_path, store=str(tmp_path / "store")))
    with pytest.raises(ValueError, match="store needs folder"):
        FeedbackConfig(store="s3://bucket/feedback")
