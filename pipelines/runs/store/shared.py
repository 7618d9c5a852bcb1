"""A folder in a store that several machines change: a local copy, brought up to date before each look and each change.

Every change is made in the copy, synced there, uploaded, and holds once an index names it. Only one process can create
the index of a number. Of two that change the folder at once, one succeeds and the other is told to try again; neither
loses the other's change. Objects are never written over.

Unlike a run, such a folder has no lease: a change takes a second.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from actors.errors import SalusError
from actors.files.atomic import locked, make_folder, remove
from actors.files.records import find_record
from actors.files.shards import write_text
from actors.files.sums import file_sum
from pipelines.runs.store.faults import told
from pipelines.runs.store.fetch import fetch
from pipelines.runs.store.index import INDICES, NO_INDEX, StoredFile, StoreIndex, add_index, read_index
from pipelines.runs.store.mirror import AT_ONCE
from pipelines.runs.store.numbered import NumberedObjects
from pipelines.runs.store.objects import Objects

# Of a copy: the index that it follows, and a mark while it is being changed.
_STATE = ".index.json"
_DIRTY = ".changing"
_TRIES = 5


class FolderMovedError(SalusError):
    """Another process changed the folder at the same moment."""


class SharedFolder:
    """The local copy of a folder in a store, for all threads and processes of this machine.

    Args:
        objects: the folder's.
        root: of the copy.
        check: raises SalusError where an index is of something else.
        late: whether a file, by name, is fetched only when it is asked for; it never changes under its name.
        own: whether a file is this machine's alone.
    """

    def __init__(
        self,
        objects: Objects,
        root: Path,
        check: Callable[[StoreIndex], None],
        late: Callable[[str], bool],
        own: Callable[[str], bool],
    ) -> None:
        self.objects, self.root = objects, root
        self._check, self._late, self._own = check, late, own
        self._thread = threading.RLock()
        # How many changes of this thread are open, one inside the other.
        self._depth = 0

    def refresh(self) -> None:
        """Bring the records up to date.

        Raises:
            SalusError: the store is out of reach, refuses, or lacks what its index names.
        """
        with self._thread:
            if not self._depth:
                with self._held():
                    self._refresh()

    @contextmanager
    def changing(self) -> Iterator[None]:
        """The copy as it is in the store, this process's own; what was changed inside is in the store at the end.

        Where the work fails, its changes are kept too: of an attempt, the audit log tells.

        Raises:
            FolderMovedError: another process changed the folder meanwhile, and nothing was changed.
            SalusError: as `refresh` raises.
        """
        with self._thread:
            if self._depth:
                yield
                return
            with self._held():
                self._refresh()
                write_text("", self.root / _DIRTY)
                self._depth += 1
                try:
                    yield
                finally:
                    self._depth -= 1
                    self._push()

    def fetch_below(self, folder: Path) -> None:
        """Have the files below one of the copy's folders here. Raises as `refresh` does."""
        beginning = f"{folder.relative_to(self.root).as_posix()}/"
        with self._thread, self._opened(), told(self.objects.place, "read"):
            state = self._state()
            missing = [
                file.name
                for file in state.files
                if file.name.startswith(beginning) and not _in_size(self.root / file.name, file)
            ]
            fetch(self.objects, state, missing, self.root)

    @contextmanager
    def _opened(self) -> Iterator[None]:
        if self._depth:
            yield
        else:
            with self._held():
                yield

    @contextmanager
    def _held(self) -> Iterator[None]:
        make_folder(self.root)
        with locked(self.root / _STATE):
            yield

    def _state(self) -> StoreIndex:
        """What the copy is one of."""
        cure = f"delete {self.root}, which is a copy"
        return find_record(StoreIndex, self.root / _STATE, "the index of a copy", cure) or NO_INDEX

    def _refresh(self) -> None:
        with told(self.objects.place, "read"):
            state, dirty = self._state(), (self.root / _DIRTY).exists()
            numbers = NumberedObjects(self.objects, INDICES).names().values()
            if not dirty and max(numbers, default=0) == state.number:
                return
            for left in reversed(range(_TRIES)):
                index = read_index(self.objects) or NO_INDEX
                try:
                    self._take(index)
                    break
                except SalusError:
                    # It may have changed while it was read.
                    again = read_index(self.objects) or NO_INDEX
                    if not left or again.revision == index.revision:
                        raise
            remove(self.root / _DIRTY)

    def _take(self, index: StoreIndex) -> None:
        """Make the copy one of this index; its weights come when they are asked for."""
        self._check(index)
        sums = {file.name: file.sha256 for file in index.files}
        for name in self._local():
            if name not in sums or (not self._late(name) and file_sum(self.root / name) != sums[name]):
                (self.root / name).unlink()
        missing = [name for name in sums if not self._late(name) and not (self.root / name).is_file()]
        fetch(self.objects, index, missing, self.root)
        write_text(index.model_dump_json(indent=1), self.root / _STATE)

    def _push(self) -> None:
        place, state = self.objects.place, self._state()
        known = {file.name: file for file in state.files}
        there = {name: self._stored(name, known.get(name)) for name in self._local()}
        # Weights that were never fetched are in the store all the same.
        kept = {name: file for name, file in known.items() if name in there or self._late(name)}
        changed = [file for name, file in there.items() if name not in known or not known[name].holds_what(file)]
        with told(place, "change"):
            if changed or len(kept) != len(known):
                sent = {file.name: file for file in self._upload(changed)}
                files = sorted((kept | sent).values(), key=lambda file: file.name)
                index = state.followed_by(tuple(files))
                if not add_index(self.objects, index):
                    self.objects.delete(file.object_name for file in sent.values())
                    raise FolderMovedError(
                        f"{place} was changed by another process at the same moment, so nothing was"
                        " changed by this one; run the same command again."
                    )
                write_text(index.model_dump_json(indent=1), self.root / _STATE)
                self.objects.delete(sorted(state.object_names() - index.object_names()))
        remove(self.root / _DIRTY)

    def _upload(self, files: Iterable[StoredFile]) -> list[StoredFile]:
        # Names that no other process writes.
        sender = uuid.uuid4().hex

        def send(file: StoredFile) -> StoredFile:
            self.objects.upload(self.root / file.name, f"{sender}/{file.name}", file.sha256)
            return file.model_copy(update={"key": f"{sender}/{file.name}"})

        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="upload") as threads:
            return list(threads.map(send, files))

    def _stored(self, name: str, known: StoredFile | None) -> StoredFile:
        path = self.root / name
        # Weights never change under their name, and are large.
        if known is not None and self._late(name) and _in_size(path, known):
            return known
        return StoredFile(name=name, bytes=path.stat().st_size, sha256=file_sum(path))

    def _local(self) -> list[str]:
        paths = (path.relative_to(self.root) for path in self.root.rglob("*") if path.is_file())
        shown = (path.as_posix() for path in paths if not any(part.startswith(".") for part in path.parts))
        return sorted(name for name in shown if not self._own(name))


def _in_size(path: Path, file: StoredFile) -> bool:
    return path.is_file() and path.stat().st_size == file.bytes
