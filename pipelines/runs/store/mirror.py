"""One way from a working folder to its store: what changed is uploaded, and the index that names it is written last.

changed files, to objects of their own -> index -> objects that it names no more, removed

No object that an index names is ever written over. An object's name holds the number of the lease under which it was
written, and the beginning of its sum. So an end at any point leaves the run as the last index names it. A process that
paused and lost its lease reaches nothing of its successor's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Self

from actors.contract.records import Record
from actors.errors import SalusError
from actors.files.records import find_record
from actors.files.shards import write_text
from pipelines.runs.lease.files import FOLDER
from pipelines.runs.store.contents import KnownFiles, Snapshot
from pipelines.runs.store.index import StoredFile, StoreIndex, add_index, read_index
from pipelines.runs.store.objects import Objects

AT_ONCE = 8
# Of a sum, in the name of an object.
_DIGITS = 16
# Beside the folder's own lease: it goes with the folder, and is neither cleared with the run nor a part of it.
_WRITTEN = f"{FOLDER}/store.json"
# An index whose writing was cut short may have come through all the same.
_REMEMBERED = 16


class WrittenRevisions(Record):
    """Which indices of a store a working folder wrote; where the store's last is one of them, the folder is ahead.

    Oldest first; written down before the index itself.
    """

    revisions: tuple[str, ...] = ()

    @classmethod
    def read(cls, working: Path) -> Self:
        """That of a working folder.

        Raises:
            SalusError: it cannot be read.
        """
        return find_record(cls, working / _WRITTEN, "the mark of a working folder", f"delete {working}") or cls()

    def add(self, working: Path, revision: str) -> WrittenRevisions:
        """The same with one more revision, kept on disk."""
        written = WrittenRevisions(revisions=(*self.revisions, revision)[-_REMEMBERED:])
        write_text(written.model_dump_json(), working / _WRITTEN)
        return written


class Mirror:
    """A working folder's way to the store; for the holder of the run's lease, one thread at a time.

    `check` raises SalusError once the lease is lost; asked before an index is written. `lease` is the lease's number.
    """

    def __init__(
        self,
        objects: Objects,
        index: StoreIndex,
        working: Path,
        known: KnownFiles,
        check: Callable[[], None],
        lease: int,
    ) -> None:
        self._objects = objects
        self._index = index
        self._working = working
        self._known = known
        self._check = check
        self._lease = lease
        self._written = WrittenRevisions.read(working)
        # Objects of this lease that are in the store whole, and revisions it may have written.
        self._sent: set[str] = set()
        self._tried: set[str] = set()

    def push(self, there: Snapshot) -> None:
        """Bring the store to a snapshot of the folder. OSError passes through, and the same call mends it.

        A file that was written since keeps in the store the content it had, or comes with the next call.

        Raises:
            SalusError: the lease is lost.
        """
        now = {file.name: file for file in self._known.stored(there)}
        # Of an earlier version's, cut off while they were written over: which content their objects hold is not known.
        unsure = [file for file in self._index.coming if file.name in there and file.name not in now]
        doubtful = {file.name for file in self._index.coming}
        kept = {file.name: file for file in self._index.files}
        staying = {name: file for name, file in kept.items() if name in there}
        changed = [
            file
            for name, file in now.items()
            if name in doubtful or name not in kept or not kept[name].holds_what(file)
        ]
        if not changed and len(staying) == len(kept):
            return
        sent = {file.name: file for file in self._upload(changed)}
        before = self._index.object_names() | self._sent
        self._write((staying | sent).values(), unsure)
        self._objects.delete(sorted(before - self._index.object_names()))
        self._sent &= self._index.object_names()

    def _upload(self, files: list[StoredFile]) -> list[StoredFile]:
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="upload") as threads:
            sent = [threads.submit(self._send, file) for file in files]
            try:
                return [each.result() for each in sent]
            finally:
                # Those that have begun come to their end.
                for each in sent:
                    each.cancel()

    def _send(self, file: StoredFile) -> StoredFile:
        path = PurePosixPath(file.name)
        named = path.with_name(f"{path.stem}.{file.sha256[:_DIGITS]}{path.suffix}")
        key = f"{self._lease}/{named}"
        if key not in self._sent:
            self._objects.upload(self._working / file.name, key, file.sha256)
            self._sent.add(key)
        return file.model_copy(update={"key": key})

    def _write(self, files: Iterable[StoredFile], coming: Iterable[StoredFile]) -> None:
        self._check()
        index = self._index.followed_by(tuple(sorted(files, key=lambda file: file.name)), tuple(coming))
        if not self._add(index):
            last = read_index(self._objects)
            # Its own, where the answer to a try was lost: this one follows it.
            own = last is not None and last.revision in self._tried
            if last is None or not own or not self._add(index := last.followed_by(index.files, index.coming)):
                # Mostly another process has the lease too, and its words tell more.
                self._check()
                raise SalusError(
                    f"{self._objects.place} was written by another process since this one wrote there last, so this"
                    " one stops and changes nothing there. salus status tells what that one does."
                )
        self._index = index

    def _add(self, index: StoreIndex) -> bool:
        self._written = self._written.add(self._working, index.revision)
        self._tried.add(index.revision)
        return add_index(self._objects, index)
