"""The index of a stored run: which objects hold its files, with their sums. Written after them.

What no index names is no part of the run: it belongs to an upload that was cut short. Indices are numbered objects,
so that a process which paused cannot write an old one over its successor's.

In runs of earlier versions one object is the index. Objects there have the names of the files and are written over.
These are read, and the next index is a numbered one.
"""

from __future__ import annotations

import uuid
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from actors.contract.records import Record
from actors.errors import SalusError
from pipelines.runs.store.numbered import NumberedObjects
from pipelines.runs.store.objects import Objects

# Hidden, as a lease is: they are of the store, and none of the run's files.
INDICES = ".index"
EARLIER_INDEX = ".store.json"


def _plain(name: str) -> str:
    parts = PurePosixPath(name).parts
    if not parts or name != "/".join(parts) or any(part.startswith(".") for part in parts) or "\0" in name:
        raise ValueError("is no name of a run's file")
    return name


class StoredFile(Record):
    """One file of a run."""

    # Relative to the run; what reads it makes a local path of it, so nothing in it leads elsewhere.
    name: Annotated[str, AfterValidator(_plain)]
    bytes: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    # The name of its object, relative to the run's place; None in earlier versions, where it is the file's.
    key: Annotated[str, AfterValidator(_plain)] | None = None

    @property
    def object_name(self) -> str:
        return self.key or self.name

    def holds_what(self, other: StoredFile) -> bool:
        """Whether both have the same content."""
        return (self.bytes, self.sha256) == (other.bytes, other.sha256)


class StoreIndex(Record):
    """All files of a stored run."""

    version: Literal[1, 2] = 2
    # Of its object, which only one process could create; 0 in earlier versions.
    number: int = 0
    # Another one in every index: who wrote the last one is known by it.
    revision: str
    files: tuple[StoredFile, ...] = ()
    # In earlier versions: written over those of the same names in `files`, or about to be; their objects may hold
    # either content.
    coming: tuple[StoredFile, ...] = ()

    def by_name(self) -> dict[str, StoredFile]:
        return {file.name: file for file in (*self.coming, *self.files)}

    def sums(self) -> dict[str, frozenset[str]]:
        """The SHA-256 a file of each name may have: one, but for files in `coming`."""
        sums = dict[str, set[str]]()
        for file in (*self.files, *self.coming):
            sums.setdefault(file.name, set()).add(file.sha256)
        return {name: frozenset(of) for name, of in sums.items()}

    def object_names(self) -> set[str]:
        """Every object that it names."""
        return {file.object_name for file in (*self.files, *self.coming)}

    def followed_by(self, files: tuple[StoredFile, ...], coming: tuple[StoredFile, ...] = ()) -> StoreIndex:
        """The next one, with a revision of its own."""
        return StoreIndex(number=self.number + 1, revision=uuid.uuid4().hex, files=files, coming=coming)


# Before the first one.
NO_INDEX = StoreIndex(revision="")


def read_index(objects: Objects) -> StoreIndex | None:
    """The index of a place; None where there is no run. OSError passes through.

    Raises:
        SalusError: it is of another version, or damaged.
    """
    last = NumberedObjects(objects, INDICES).highest()
    if last:
        return _parsed(objects, last[0].name, last[0].found.content, last[0].number)
    earlier = objects.get(EARLIER_INDEX)
    return _parsed(objects, EARLIER_INDEX, earlier.content, 0) if earlier is not None else None


def add_index(objects: Objects, index: StoreIndex) -> bool:
    """Make an index the one that holds; False where another process has written one of its number or a higher one."""
    added = NumberedObjects(objects, INDICES).add(index.number, index.model_dump_json(indent=1).encode())
    if added is not None and index.number == 1:
        objects.delete([EARLIER_INDEX])
    return added is not None


def _parsed(objects: Objects, name: str, content: bytes, number: int) -> StoreIndex:
    try:
        return StoreIndex.model_validate_json(content).model_copy(update={"number": number})
    except ValueError as error:
        raise SalusError(
            f"{objects.place}/{name} is not an index of version 1 or 2; use the Salus that wrote it, or take it from a"
            " copy."
        ) from error
