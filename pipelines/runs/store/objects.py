"""Objects below an address, by their names relative to it, over `obstore`: S3, Google's storage, or a folder.

A reader sees an object whole or not at all. Object stores show one when its upload is complete; in a folder it is
written and synced under another name, then renamed. What a killed process had sent of a large object stays hidden in
an object store until a rule of the bucket ends incomplete uploads. Faults are OSError.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError

from actors.files.atomic import sync_folder
from pipelines.runs.store.place import BUCKETS, RemotePlace

if TYPE_CHECKING:
    # Not importable at run time.
    from obstore import ObjectMeta, PutResult, UpdateVersion
    from obstore.store import ObjectStore

CHUNK_BYTES = 8 * 2**20
# Chunks of one file that are on their way at once; several files are.
_CHUNKS_AT_ONCE = 2
# More parts than this S3 refuses.
_MOST_PARTS = 10_000
_ANSWER = re.compile(r"<Code>(?P<code>[^<]*)</Code>\s*(<Message>(?P<message>[^<]*)</Message>)?")

# What tells one content under a name from another: its e-tag, and the generation where the store counts those.
Version: TypeAlias = "UpdateVersion"


class ObjectStoreError(OSError):
    """A store's own word for what went wrong."""


@dataclass(frozen=True)
class ObjectInfo:
    """What a listing tells of an object."""

    bytes: int
    changed_at: datetime
    # Another one for another content; None where the store has none.
    e_tag: str | None = None


@dataclass(frozen=True)
class StoredObject:
    """An object as it was read."""

    content: bytes
    version: Version
    changed_at: datetime


class Objects:
    """The objects of one place; every call raises OSError where the store refuses or is out of reach."""

    def __init__(self, place: RemotePlace, store: ObjectStore) -> None:
        """`store`: the whole bucket, or the whole file system."""
        self.place = place
        self.store = store
        self._prefix = place.path.partition("/")[2]

    def at(self, name: str) -> Objects:
        """Those below one of the place's folders."""
        return Objects(self.place / name, self.store)

    def list(self, folder: str = "") -> dict[str, ObjectInfo]:
        """Every object below a folder, by name; none where there is no such folder."""
        skip = len(self._prefix) + 1 if self._prefix else 0
        with store_faults():
            found = [meta for batch in obstore.list(self.store, prefix=self._path(folder)) for meta in batch]
        return {meta["path"][skip:]: _info(meta) for meta in found}

    def info(self, name: str) -> ObjectInfo | None:
        """What a listing tells of one object; None where there is none. Without a name it is the place itself."""
        if not self._path(name):
            return None
        try:
            with store_faults():
                return _info(obstore.head(self.store, self._path(name)))
        except FileNotFoundError:
            return None

    def folders(self) -> tuple[str, ...]:
        """Names of the folders right below the place, in order."""
        with store_faults():
            found = obstore.list_with_delimiter(self.store, prefix=self._prefix)["common_prefixes"]
        return tuple(sorted(path.rpartition("/")[2] for path in found))

    def get(self, name: str) -> StoredObject | None:
        """An object; None where there is none of this name."""
        try:
            with store_faults():
                found = obstore.get(self.store, self._path(name))
                content, meta = bytes(found.bytes()), found.meta
        except FileNotFoundError:
            return None
        return StoredObject(content, _version(meta["e_tag"], meta["version"]), meta["last_modified"])

    def put(self, name: str, content: bytes) -> Version:
        """Write an object, whatever is under its name."""
        with store_faults():
            if self.place.scheme in BUCKETS:
                return self._send(self._path(name), content)
            return self._rename_in(name, content, overwrite=True)

    def put_if_absent(self, name: str, content: bytes) -> Version | None:
        """Write an object unless there is one of its name: of several that try, one can.

        Returns its version; None where there was one. It may be this call's own, where a first answer was lost: who
        must know reads it.
        """
        with store_faults(), contextlib.suppress(AlreadyExistsError):
            if self.place.scheme in BUCKETS:
                return _put_version(obstore.put(self.store, self._path(name), content, mode="create"))
            return self._rename_in(name, content, overwrite=False)
        return None

    def put_if_match(self, name: str, content: bytes, version: Version) -> Version | None:
        """Write an object over one version of it; None where there is another or none.

        A folder cannot compare and write in one step: there it keeps out a writer that is late, and not two that race.
        """
        if self.place.scheme in BUCKETS:
            try:
                with store_faults(), contextlib.suppress(PreconditionError):
                    return _put_version(obstore.put(self.store, self._path(name), content, mode=version))
            except FileNotFoundError:
                pass
            return None
        there = self.get(name)
        return self.put(name, content) if there is not None and there.version == version else None

    def upload(self, source: Path, name: str, sha256: str) -> None:
        """Copy a file there, in chunks.

        Raises:
            OSError: it has another SHA-256 by now, and nothing was written; or the store refuses.
        """
        size = source.stat().st_size
        if size <= CHUNK_BYTES:
            # One request; an upload in parts takes three.
            self.put(name, b"".join(_checked(source, sha256)))
            return
        chunks = _checked(source, sha256)
        with store_faults():
            if self.place.scheme in BUCKETS:
                self._send(self._path(name), chunks, max(CHUNK_BYTES, -(-size // _MOST_PARTS)))
            else:
                self._rename_in(name, chunks, overwrite=True)

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

    def delete(self, names: Iterable[str]) -> None:
        """Remove objects; those that are not there are no fault."""
        for name in names:
            with contextlib.suppress(FileNotFoundError), store_faults():
                obstore.delete(self.store, self._path(name))

    def _chunks(self, name: str) -> Iterator[bytes]:
        with store_faults():
            for chunk in obstore.get(self.store, self._path(name)).stream(CHUNK_BYTES):
                yield bytes(chunk)

    def _send(self, path: str, content: bytes | Iterator[bytes], part_bytes: int = CHUNK_BYTES) -> Version:
        return _put_version(
            obstore.put(self.store, path, content, chunk_size=part_bytes, max_concurrency=_CHUNKS_AT_ONCE)
        )

    def _rename_in(self, name: str, content: bytes | Iterator[bytes], overwrite: bool) -> Version:
        """Write an object of a folder durably; AlreadyExistsError where it must be new and is not."""
        path = self._path(name)
        folder, _, base = path.rpartition("/")
        temporary = f"{folder}/.{base}.{uuid.uuid4().hex[:8]}.tmp"
        try:
            version = self._send(temporary, content)
            with Path("/", temporary).open("rb") as file:
                os.fsync(file.fileno())
            # Without overwriting this is a hard link: it is made where there is no such name, or not at all.
            obstore.rename(self.store, temporary, path, overwrite=overwrite)
        finally:
            with contextlib.suppress(FileNotFoundError):
                obstore.delete(self.store, temporary)
        root = Path(self.place.path)
        for parent in Path("/", path).parents:
            sync_folder(parent)
            if parent == root.parent:
                break
        return version

    def _path(self, name: str) -> str:
        return "/".join(part for part in (self._prefix, name) if part)


def _info(meta: ObjectMeta) -> ObjectInfo:
    return ObjectInfo(meta["size"], meta["last_modified"], meta["e_tag"])


def _checked(source: Path, sha256: str) -> Iterator[bytes]:
    """A file in chunks; OSError before the last of them is taken for the end, where they are not what was asked for."""
    digest = hashlib.sha256()
    with source.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            yield chunk
    if digest.hexdigest() != sha256:
        raise OSError(f"{source} changed while it was sent")


def _put_version(result: PutResult) -> Version:
    return _version(result["e_tag"], result["version"])


def _version(e_tag: str | None, version: str | None) -> Version:
    # Without what the store does not tell: obstore takes no None for it.
    parts: Version = {}
    if e_tag is not None:
        parts["e_tag"] = e_tag
    if version is not None:
        parts["version"] = version
    return parts


@contextmanager
def store_faults() -> Iterator[None]:
    """Let faults of obstore be OSError, in a line; the refusal of a condition is none."""
    try:
        yield
    except (AlreadyExistsError, PreconditionError):
        raise
    except FileNotFoundError as error:
        raise FileNotFoundError(_words(error)) from error
    except BaseError as error:
        raise ObjectStoreError(_words(error)) from error


def _words(error: Exception) -> str:
    """What a store answered, without the pages that obstore tells beside it."""
    told, _, _ = str(error).partition("\n\nDebug source")
    before, _, answer = told.partition("<?xml")
    if (found := _ANSWER.search(answer)) is not None:
        before += " ".join(part for part in (found["code"], found["message"]) if part)
    return " ".join(before.split())
