"""Objects below an address, by their names relative to it, over pyarrow's file systems.

A reader sees an object whole or not at all: object stores show one when its upload is complete, and on a file system
it is written under another name and renamed. What a killed process had sent of a large one stays hidden in an object
store until a rule of the bucket ends incomplete uploads. Faults pass through as OSError.
"""

from __future__ import annotations

import contextlib
import hashlib
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pyarrow as pa
from pyarrow import fs

from pipelines.store.place import BUCKETS, RemotePlace

CHUNK_BYTES = 8 * 2**20
_READ_TRIES = 5


@dataclass(frozen=True)
class ObjectInfo:
    """What a listing tells of an object."""

    bytes: int
    # None where the store does not tell.
    changed_at: datetime | None


class Objects:
    """The objects of one place."""

    def __init__(self, place: RemotePlace, files: fs.FileSystem) -> None:
        self.place = place
        self.files = files

    def at(self, name: str) -> Objects:
        """Those below one of the place's folders."""
        return Objects(self.place / name, self.files)

    def listed(self, folder: str = "") -> dict[str, ObjectInfo]:
        """Every object at or below a folder, by name; none where there is no such folder."""
        selector = fs.FileSelector(self._path(folder), allow_not_found=True, recursive=True)
        skip = len(self.place.path) + 1
        found = self.files.get_file_info(selector)
        return {info.path[skip:]: ObjectInfo(info.size, info.mtime) for info in found if info.is_file}

    def folders(self) -> list[str]:
        """Names of the folders right below the place, in order."""
        selector = fs.FileSelector(self.place.path, allow_not_found=True, recursive=False)
        found = self.files.get_file_info(selector)
        return sorted(info.base_name for info in found if info.type == fs.FileType.Directory)

    def read(self, name: str) -> bytes | None:
        """An object's content; None where there is none of this name."""
        fault: OSError | None = None
        for _ in range(_READ_TRIES):
            try:
                with self.files.open_input_file(self._path(name)) as file:
                    content = bytes(file.read(file.size()))
                # The size is asked for first: a longer object that came between would be cut off.
                if self.files.get_file_info(self._path(name)).size == len(content):
                    return content
            except FileNotFoundError:
                return None
            except OSError as error:
                # A server may break off an answer about an object that is written over meanwhile.
                fault = error
        raise fault or OSError(f"{name} was written over whenever it was read")

    def write(self, name: str, content: bytes) -> None:
        with self._writing(name) as stream:
            stream.write(content)

    def upload(self, source: Path, name: str) -> str:
        """Copy a file there; returns the SHA-256 of what was sent."""
        digest = hashlib.sha256()
        with source.open("rb") as file, self._writing(name) as stream:
            while chunk := file.read(CHUNK_BYTES):
                digest.update(chunk)
                stream.write(chunk)
        return digest.hexdigest()

    def download(self, name: str, target: Path) -> str:
        """Copy an object into a file; returns the SHA-256 of what came. FileNotFoundError where there is none."""
        digest = hashlib.sha256()
        with target.open("wb") as file:
            for chunk in self._chunks(name):
                digest.update(chunk)
                file.write(chunk)
        return digest.hexdigest()

    def sum(self, name: str) -> str:
        """SHA-256 of an object; all of it is read. FileNotFoundError where there is none."""
        digest = hashlib.sha256()
        for chunk in self._chunks(name):
            digest.update(chunk)
        return digest.hexdigest()

    def remove(self, names: Iterable[str]) -> None:
        """Remove objects; those that are not there are no fault."""
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                self.files.delete_file(self._path(name))

    def _chunks(self, name: str) -> Iterator[bytes]:
        with self.files.open_input_stream(self._path(name), compression=None) as stream:
            while chunk := stream.read(CHUNK_BYTES):
                yield chunk

    @contextmanager
    def _writing(self, name: str) -> Iterator[pa.NativeFile]:
        path = self._path(name)
        if self.place.scheme in BUCKETS:
            # What fails half-way may leave a short object, as a stream that is dropped is completed; whoever reads
            # holds it against the sum in the index.
            with self.files.open_output_stream(path, compression=None) as stream:
                yield stream
            return
        folder, _, base = path.rpartition("/")
        self.files.create_dir(folder, recursive=True)
        temporary = f"{folder}/.{base}.{uuid.uuid4().hex[:8]}.tmp"
        with self.files.open_output_stream(temporary, compression=None) as stream:
            yield stream
        self.files.move(temporary, path)

    def _path(self, name: str) -> str:
        return f"{self.place.path}/{name}" if name else self.place.path
