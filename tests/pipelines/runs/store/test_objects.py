"""Objects in a folder and on an S3 server: the same contract."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import obstore
import pytest
from obstore.store import LocalStore

from actors.errors import SalusError
from pipelines.runs.store.connect import connect
from pipelines.runs.store.faults import told
from pipelines.runs.store.objects import CHUNK_BYTES, Objects
from pipelines.runs.store.place import RemotePlace
from tests.pipelines.runs.store.conftest import reach
from tests.pipelines.runs.store.server import answering
from tests.root import ROOT

RACING = 16


def test_what_is_put_is_read_listed_and_deleted(place: RemotePlace) -> None:
    objects = connect(place)
    assert objects.list() == {} and objects.get("a/b.json") is None
    objects.put("a/b.json", b"{}")
    objects.put("a/b.json", b"[1]")
    objects.put("c.json.gz", b"not gzip")
    assert content(objects, "a/b.json") == b"[1]" and content(objects, "c.json.gz") == b"not gzip"
    assert {name: info.bytes for name, info in objects.list().items()} == {"a/b.json": 3, "c.json.gz": 8}
    assert list(objects.list("a")) == ["a/b.json"]
    assert content(objects.at("a"), "b.json") == b"[1]"
    assert connect(RemotePlace(place.scheme, place.path.rsplit("/", 1)[0])).folders() == ("demo-s7",)
    objects.delete(["a/b.json", "never/there"])
    assert list(objects.list()) == ["c.json.gz"]


def test_an_object_is_created_where_there_is_none(place: RemotePlace) -> None:
    objects = connect(place)
    version = objects.put_if_absent("a.json", b"first")
    assert version is not None
    assert objects.put_if_absent("a.json", b"second") is None
    found = objects.get("a.json")
    assert found is not None and (found.content, found.version) == (b"first", version)
    objects.delete(["a.json"])
    assert objects.put_if_absent("a.json", b"second") is not None
    assert list(objects.list()) == ["a.json"]


def test_an_object_is_replaced_while_it_is_the_one_that_was_read(place: RemotePlace) -> None:
    objects = connect(place)
    first = objects.put("a.json", b"first")
    second = objects.put_if_match("a.json", b"second", first)
    assert second is not None and second != first
    assert objects.put_if_match("a.json", b"third", first) is None
    assert content(objects, "a.json") == b"second"
    objects.delete(["a.json"])
    assert objects.put_if_match("a.json", b"third", second) is None
    assert objects.list() == {}


def raced(write: Callable[[Objects, bytes], object], place: RemotePlace) -> list[bytes]:
    """What those wrote who were let."""

    def come(number: int) -> bytes | None:
        objects, mine = connect(place), f"writer {number}".encode()
        barrier.wait()
        return mine if write(objects, mine) is not None else None

    barrier = threading.Barrier(RACING)
    with ThreadPoolExecutor(RACING) as threads:
        return [mine for mine in threads.map(come, range(RACING)) if mine is not None]


def test_of_sixteen_that_create_an_object_one_does(place: RemotePlace) -> None:
    winners = raced(lambda objects, mine: objects.put_if_absent("a.json", mine), place)
    assert winners == [content(connect(place), "a.json")]
    assert list(connect(place).list()) == ["a.json"]


def test_of_sixteen_that_replace_an_object_one_does(s3: RemotePlace) -> None:
    version = connect(s3).put("a.json", b"first")
    winners = raced(lambda objects, mine: objects.put_if_match("a.json", mine, version), s3)
    assert winners == [content(connect(s3), "a.json")]


def test_files_of_several_chunks_come_back_as_they_went(place: RemotePlace, tmp_path: Path) -> None:
    objects, there, back = connect(place), tmp_path / "there", tmp_path / "back"
    there.write_bytes(os.urandom(2 * CHUNK_BYTES + 17))
    expected = hashlib.sha256(there.read_bytes()).hexdigest()
    objects.upload(there, "weights.safetensors", expected)
    assert objects.sum("weights.safetensors") == expected
    assert objects.download("weights.safetensors", back) == expected
    assert back.read_bytes() == there.read_bytes()
    with pytest.raises(FileNotFoundError):
        objects.download("nothing", back)


@pytest.mark.parametrize("size", [5, 2 * CHUNK_BYTES + 17])
def test_a_file_that_changed_while_it_was_sent_becomes_no_object(place: RemotePlace, tmp_path: Path, size: int) -> None:
    objects, there = connect(place), tmp_path / "there"
    there.write_bytes(os.urandom(size))
    with pytest.raises(OSError, match="changed while it was sent"):
        objects.upload(there, "weights.safetensors", "0" * 64)
    assert objects.list() == {}


def test_a_large_file_is_never_whole_in_memory(place: RemotePlace, tmp_path: Path) -> None:
    """In a process of its own: what Rust holds is no memory that Python knows of."""
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(20 * CHUNK_BYTES)
    program = (
        "import re, sys; from pathlib import Path; from actors.files.sums import file_sum\n"
        "from pipelines.runs.store.connect import connect; from pipelines.runs.store.place import place_of\n"
        "peak = lambda: int(re.search(r'VmHWM:\\s*(\\d+) kB', Path('/proc/self/status').read_text())[1])\n"
        "objects, large = connect(place_of(sys.argv[1])), Path(sys.argv[2])\n"
        "sha256 = file_sum(large); before = peak(); objects.upload(large, 'large', sha256)\n"
        "assert objects.download('large', Path(sys.argv[3])) == sha256; print(peak() - before)\n"
    )
    arguments = [sys.executable, "-c", program, str(place), str(large), str(tmp_path / "back")]
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(done.stdout) * 1024 < 12 * CHUNK_BYTES


def test_in_a_folder_an_object_is_renamed_into_its_place(tmp_path: Path) -> None:
    objects = connect(RemotePlace("file", str(tmp_path / "share")))
    with pytest.raises(IsADirectoryError):
        objects.upload(tmp_path, "a", "0" * 64)
    objects.put("a", b"whole")
    assert objects.put_if_absent("a", b"other") is None
    assert [path.name for path in (tmp_path / "share").iterdir()] == ["a"]


def test_in_a_folder_an_object_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done, rename, fsync = list[str](), obstore.rename, os.fsync

    def renamed(store: LocalStore, from_: str, to: str, *, overwrite: bool = True) -> None:
        rename(store, from_, to, overwrite=overwrite)
        done.append(f"rename to {Path('/', to).relative_to(tmp_path)}")

    def synced(number: int) -> None:
        fsync(number)
        path = Path(os.readlink(f"/proc/self/fd/{number}"))
        done.append(f"sync {'file' if path.suffix == '.tmp' else path.relative_to(tmp_path)}")

    monkeypatch.setattr("obstore.rename", renamed)
    monkeypatch.setattr("os.fsync", synced)
    objects = connect(RemotePlace("file", str(tmp_path / "share")))
    assert objects.put_if_absent("a/b.json", b"{}") is not None
    assert done == ["sync file", "rename to share/a/b.json", "sync share/a", "sync share", "sync ."]


def test_a_folder_is_listed_while_others_write_in_it(tmp_path: Path) -> None:
    objects = connect(RemotePlace("file", str(tmp_path)))
    end = time.monotonic() + 2

    def write(number: int) -> None:
        while time.monotonic() < end:
            objects.put(f"{number}/a.json", b"{}")
            objects.delete([f"{number}/a.json"])

    with ThreadPoolExecutor(2) as threads:
        writers = [threads.submit(write, number) for number in range(2)]
        while time.monotonic() < end:
            whole = {name for name in objects.list() if not name.endswith(".tmp")}
            assert whole <= {"0/a.json", "1/a.json"}
        for writer in writers:
            writer.result()


def test_what_a_folder_refuses_is_told_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "share").write_text("a file")
    place = RemotePlace("file", f"{tmp_path}/share/run")
    with pytest.raises(SalusError, match=r"Cannot write to file://.*; mend that") as caught, told(place, "write to"):
        Objects(place, connect(RemotePlace("file", str(tmp_path))).store).put("a", b"")
    assert "\n" not in caught.value.sentence and "Debug" not in caught.value.sentence


def test_credentials_are_taken_from_the_profile_that_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen = list[str]()

    def answer(handler: BaseHTTPRequestHandler) -> tuple[int, bytes]:
        seen.append(handler.headers["Authorization"])
        return 403, b"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>No.</Message></Error>"

    (tmp_path / "credentials").write_text("[team]\naws_access_key_id = AKIATEAM\naws_secret_access_key = secret\n")
    (tmp_path / "config").write_text("[profile team]\nregion = eu-west-3\n")
    with answering(answer) as url:
        reach(monkeypatch, url)
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_DEFAULT_REGION"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
        monkeypatch.setenv("AWS_PROFILE", "team")
        place = RemotePlace("s3", "bucket/run")
        with pytest.raises(SalusError, match=r"403 Forbidden: AccessDenied No\.\); credentials are missing or may not"):
            connect(place)
        assert "Credential=AKIATEAM/" in seen[0] and "/eu-west-3/s3/" in seen[0]
        monkeypatch.setenv("AWS_PROFILE", "nowhere")
        with pytest.raises(SalusError, match=r"profile \(nowhere\) could not be found\); credentials are missing"):
            connect(place)
        monkeypatch.delenv("AWS_PROFILE")
        with pytest.raises(SalusError, match=r"Cannot reach s3://bucket/run \(no credentials\); credentials are"):
            connect(place)


def content(objects: Objects, name: str) -> bytes:
    found = objects.get(name)
    assert found is not None
    return found.content
