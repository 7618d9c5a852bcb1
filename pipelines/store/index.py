"""The index of a stored run: which objects are its files, with their sums. Written last, so it names whole files only.

What the index does not name is no part of the run: it belongs to an upload that was cut short.
"""

from __future__ import annotations

import uuid
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from actors.errors import SalusError
from actors.records import Record
from pipelines.store.objects import Objects

# Hidden, as a lease is: it is of the store, and none of the run's files.
INDEX = ".store.json"


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


class StoreIndex(Record):
    """All files of a stored run."""

    version: Literal[1] = 1
    # Another one in every index: who wrote the last one is known by it.
    revision: str
    files: tuple[StoredFile, ...] = ()
    # Written over those of the same names in `files`, or about to be: until an index says which, the store may hold
    # any of them.
    coming: tuple[StoredFile, ...] = ()

    def sums(self) -> dict[str, frozenset[str]]:
        """The SHA-256 an object of each name may have."""
        sums = {file.name: {file.sha256} for file in self.files}
        for file in self.coming:
            sums.setdefault(file.name, set()).add(file.sha256)
        return {name: frozenset(of) for name, of in sums.items()}


def new_index(files: tuple[StoredFile, ...] = (), coming: tuple[StoredFile, ...] = ()) -> StoreIndex:
    """An index with a revision of its own."""
    return StoreIndex(revision=uuid.uuid4().hex, files=files, coming=coming)


def read_index(objects: Objects) -> StoreIndex | None:
    """The index of a place; None where no run lies there. OSError passes through.

    Raises:
        SalusError: it is of another version, or damaged.
    """
    content = objects.read(INDEX)
    if content is None:
        return None
    try:
        return StoreIndex.model_validate_json(content)
    except ValueError as error:
        raise SalusError(
            f"{objects.place}/{INDEX} is not an index of version 1; use the Salus that wrote it, or take it from a"
            " copy."
        ) from error


def write_index(objects: Objects, index: StoreIndex) -> None:
    """Put an index in the place of the one before, at once."""
    objects.write(INDEX, index.model_dump_json(indent=1).encode())
