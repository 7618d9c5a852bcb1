"""Places: folders and addresses, as somebody types them."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.errors import SalusError
from pipelines.runs.store.place import RemotePlace, local_folder, place_of, working_folder


@pytest.mark.parametrize("text", ["runs/demo-s7", "/data/runs", ".", "odd name: [red]"])
def test_what_is_no_address_is_a_folder(text: str) -> None:
    assert place_of(text) == Path(text)
    assert working_folder(Path(text)) == Path(text)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("s3://bucket/team/run", RemotePlace("s3", "bucket/team/run")),
        ("S3://bucket/run/", RemotePlace("s3", "bucket/run")),
        ("gs://bucket", RemotePlace("gs", "bucket")),
        ("file:///mnt/share/run", RemotePlace("file", "/mnt/share/run")),
    ],
)
def test_addresses(text: str, place: RemotePlace) -> None:
    assert place_of(text) == place
    assert place_of(str(place)) == place


@pytest.mark.parametrize(
    "text",
    [
        "s3://key:secret@bucket/run",
        "s3://bucket/run?secret_key=secret",
        "s3://bucket/../secret",
        "s3://bucket//secret",
        "s3://bucket/.secret",
        "s3://",
        "s3:///secret/run",
        "file://secret/run",
        "s3://bucket/secret\nrun",
        "s3://bucket/a{secret}",
    ],
)
def test_other_addresses_are_refused_without_repeating_them(text: str) -> None:
    with pytest.raises(SalusError, match=r"is no (s3|file):// address of a run") as refused:
        place_of(text)
    assert "secret" not in refused.value.sentence


def test_other_stores_are_refused() -> None:
    with pytest.raises(SalusError, match="no store for addresses that begin with ftp://; give a folder, or s3://"):
        place_of("ftp://host/run")


def test_a_working_folder_has_the_runs_name_and_is_of_one_place_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SALUS_CACHE", str(tmp_path))
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3", raising=False)
    folders = set()
    for endpoint in ("http://127.0.0.1:1", "http://127.0.0.1:2"):
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        folders |= {working_folder(place_of(text)) for text in ("s3://a/run", "s3://b/run", "s3://a/run/")}
    assert len(folders) == 4
    assert {folder.name for folder in folders} == {"run"}
    assert all(folder.is_relative_to(tmp_path / "runs") for folder in folders)


def test_what_needs_a_folder_says_so() -> None:
    assert local_folder("runs/study", "A study needs") == Path("runs/study")
    with pytest.raises(SalusError, match=r"A study needs a local folder, not s3://bucket/study; give one\."):
        local_folder("s3://bucket/study", "A study needs")
