"""What the tests of stored runs share: a store that is cut off, and runs put into one."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from actors.contract.run_folder import RunFolder
from pipelines.config.load import load_recipe
from pipelines.config.recipe import Recipe
from pipelines.runs.store.connect import connect
from pipelines.runs.store.contents import KnownFiles, snapshot
from pipelines.runs.store.index import EARLIER_INDEX, NO_INDEX, StoredFile, StoreIndex, read_index
from pipelines.runs.store.mirror import Mirror
from pipelines.runs.store.objects import Objects, Version
from pipelines.runs.store.place import RemotePlace

if TYPE_CHECKING:
    from obstore.store import ObjectStore


class CutOff(Objects):
    """Objects of a store that answers so many writes and removals, and then no more."""

    def __init__(self, place: RemotePlace, store: ObjectStore, answers: int) -> None:
        super().__init__(place, store)
        self.left = answers

    def put_if_absent(self, name: str, content: bytes) -> Version | None:
        self._count()
        return super().put_if_absent(name, content)

    def upload(self, source: Path, name: str, sha256: str) -> None:
        self._count()
        super().upload(source, name, sha256)

    def delete(self, names: Iterable[str]) -> None:
        # What removes nothing asks nothing.
        if there := list(names):
            self._count()
            super().delete(there)

    def _count(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise OSError("the line is cut")


def demo(*changes: str) -> Recipe:
    return load_recipe("demo", changes)


def free() -> None:
    """The lease is held."""


def mirror_of(objects: Objects, working: Path) -> Mirror:
    """The way of a folder to a place, as it stands, under its first lease."""
    return Mirror(objects, read_index(objects) or NO_INDEX, working, KnownFiles(working), free, lease=1)


def put_run(folder: RunFolder, place: RemotePlace) -> None:
    """Store a run folder as it is."""
    mirror_of(connect(place), folder.root).push(snapshot(folder))


def index_of(place: RemotePlace) -> StoreIndex:
    index = read_index(connect(place))
    assert index is not None
    return index


def put_as_earlier(place: RemotePlace, root: Path, coming: tuple[StoredFile, ...] = ()) -> StoreIndex:
    """Store a folder as earlier versions did: objects have the names of the files, and one object is the index."""
    objects, known = connect(place), KnownFiles(root)
    files = tuple(known.stored(snapshot(RunFolder(root))))
    index = StoreIndex(version=1, revision=uuid.uuid4().hex, files=files, coming=coming)
    for file in files:
        objects.put(file.name, (root / file.name).read_bytes())
    written = index.model_dump(exclude={"number"})
    for file in (*written["files"], *written["coming"]):
        del file["key"]
    objects.put(EARLIER_INDEX, json.dumps(written).encode())
    return index


def object_of(place: RemotePlace, name: str) -> str:
    """The name of the object that a file of the run lies under."""
    return index_of(place).by_name()[name].object_name


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def contents(root: Path) -> dict[str, str]:
    """The files of a folder but the hidden ones."""
    found = {path.relative_to(root).as_posix(): path for path in root.rglob("*") if path.is_file()}
    shown = {name: path for name, path in found.items() if not any(part.startswith(".") for part in name.split("/"))}
    return {name: path.read_text(encoding="utf-8") for name, path in sorted(shown.items())}
