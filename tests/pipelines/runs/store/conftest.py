"""Places for runs: on a file system, and on an S3 server; machines, each with a cache of its own."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipelines.runs.store.place import RemotePlace
from tests.s3_server import make_bucket, reaching, s3_server

Move = Callable[[str], None]


@pytest.fixture(scope="session")
def s3_url() -> Iterator[str]:
    with s3_server() as url:
        yield url


@pytest.fixture
def s3(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> RemotePlace:
    """A run in a bucket of the test's own."""
    reach(monkeypatch, s3_url)
    bucket = f"salus-{uuid.uuid4().hex[:8]}"
    make_bucket(s3_url, bucket)
    return RemotePlace("s3", f"{bucket}/team/demo-s7")


@pytest.fixture(params=["file", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> RemotePlace:
    """A place for a run, of each kind."""
    if request.param == "file":
        return RemotePlace("file", f"{tmp_path}/share/team/demo-s7")
    found: RemotePlace = request.getfixturevalue("s3")
    return found


@pytest.fixture
def move_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Move:
    """Go on at another machine: one with a cache of its own. The test begins at machine `a`."""

    def move(machine: str) -> None:
        monkeypatch.setenv("SALUS_CACHE", str(tmp_path / machine))

    move("a")
    return move


def reach(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Let S3 be the server at a URL."""
    for name, value in reaching(url).items():
        monkeypatch.setenv(name, value)
