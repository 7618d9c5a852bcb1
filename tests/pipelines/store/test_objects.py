"""Objects on a file system and on an S3 server: the same contract."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import fs

from actors.errors import SalusError
from pipelines.store.connect import connect
from pipelines.store.index import INDEX, StoredFile, new_index, read_index, write_index
from pipelines.store.objects import CHUNK_BYTES, Objects
from pipelines.store.place import RemotePlace


def test_what_is_written_is_read_listed_and_removed(place: RemotePlace) -> None:
    objects = connect(place)
    assert objects.listed() == {} and objects.read("a/b.json") is None
    objects.write("a/b.json", b"{}")
    objects.write("a/b.json", b"[1]")
    objects.write("c.json.gz", b"not gzip")
    assert objects.read("a/b.json") == b"[1]" and objects.read("c.json.gz") == b"not gzip"
    assert {name: info.bytes for name, info in objects.listed().items()} == {"a/b.json": 3, "c.json.gz": 8}
    assert list(objects.listed("a")) == ["a/b.json"]
    assert objects.at("a").read("b.json") == b"[1]"
    assert connect(RemotePlace(place.scheme, place.path.rsplit("/", 1)[0])).folders() == ["demo-s7"]
    objects.remove(["a/b.json", "never/there"])
    assert list(objects.listed()) == ["c.json.gz"]


def test_files_of_several_chunks_come_back_as_they_went(place: RemotePlace, tmp_path: Path) -> None:
    objects, there, back = connect(place), tmp_path / "there", tmp_path / "back"
    there.write_bytes(os.urandom(2 * CHUNK_BYTES + 17))
    expected = hashlib.sha256(there.read_bytes()).hexdigest()
    assert objects.upload(there, "weights.safetensors") == expected
    assert objects.sum("weights.safetensors") == expected
    assert objects.download("weights.safetensors", back) == expected
    assert back.read_bytes() == there.read_bytes()
    with pytest.raises(FileNotFoundError):
        objects.download("nothing", back)


def test_an_index_is_read_as_written_and_leads_nowhere_else(place: RemotePlace) -> None:
    objects = connect(place)
    assert read_index(objects) is None
    file = StoredFile(name="cycles/01/decision.json", bytes=2, sha256="0" * 64)
    index = new_index((file,), (file.model_copy(update={"sha256": "1" * 64}),))
    write_index(objects, index)
    assert read_index(objects) == index
    assert index.sums() == {file.name: {"0" * 64, "1" * 64}}
    for name in ("../../etc/passwd", "/etc/passwd", "a//b", ".lease/1.json", "a/./b", ""):
        objects.write(INDEX, index.model_dump_json().replace(file.name, name).encode())
        with pytest.raises(SalusError, match=r"is not an index of version 1"):
            read_index(objects)


def test_on_a_file_system_an_object_is_renamed_into_its_place(tmp_path: Path) -> None:
    objects = connect(RemotePlace("file", str(tmp_path)))
    with pytest.raises(IsADirectoryError):
        objects.upload(tmp_path, "a")
    objects.write("a", b"whole")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


class BreaksOff(fs.LocalFileSystem):
    """Breaks off its first answers, as a server may that is asked for an object while it is written over."""

    def __init__(self) -> None:
        super().__init__()
        self.faults = 0

    def open_input_file(self, path: str) -> pa.NativeFile:
        if self.faults > 0:
            self.faults -= 1
            raise OSError("Failed to flush response stream")
        return super().open_input_file(path)


def test_an_answer_that_breaks_off_is_asked_for_again(tmp_path: Path) -> None:
    files = BreaksOff()
    objects = Objects(RemotePlace("file", str(tmp_path)), files)
    objects.write("a.json", b"[1]")
    files.faults = 2
    assert objects.read("a.json") == b"[1]" and files.faults == 0
    files.faults = 100
    with pytest.raises(OSError, match="Failed to flush"):
        objects.read("a.json")
    assert files.faults > 0
