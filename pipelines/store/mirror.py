"""One way from a working folder to its store: what changed is uploaded, and the index that names it is written last.

index says which -> objects that are no more, removed -> changed ones, new ones -> index

An end at any point leaves a run that can be read: what an index names was uploaded before it, and of an object that
is written over, the index before names both contents.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pipelines.store.contents import KnownFiles, Snapshot
from pipelines.store.index import StoredFile, StoreIndex, new_index, write_index
from pipelines.store.mark import Mark
from pipelines.store.objects import Objects

AT_ONCE = 8


class Mirror:
    """A working folder's way to the store; for the holder of the run's lease, one thread at a time.

    `check` raises SalusError once the lease is lost; asked before anything that others would read is written.
    """

    def __init__(
        self, objects: Objects, index: StoreIndex, working: Path, known: KnownFiles, check: Callable[[], None]
    ) -> None:
        self._objects = objects
        self._index = index
        self._working = working
        self._known = known
        self._check = check
        self._mark = Mark.read(working)

    def push(self, there: Snapshot) -> None:
        """Bring the store to a snapshot of the folder. OSError passes through, and the same call mends it.

        A file that was written since keeps in the store the content it had, or comes with the next call.

        Raises:
            SalusError: the lease is lost.
        """
        now = {file.name: file for file in self._known.stored(there)}
        kept = {file.name: file for file in self._index.files}
        unsure = [file for file in self._index.coming if file.name in there]
        new = [file for name, file in now.items() if name not in kept]
        changed = [file for file in now.values() if file.name in kept and self._differs(file, kept)]
        gone = kept.keys() - there.keys()
        if not (new or changed or gone):
            return
        staying = {name: file for name, file in kept.items() if name not in gone}
        if changed or gone:
            self._write(staying.values(), [*unsure, *changed])
        if gone:
            self._objects.remove(sorted(gone))
        self._upload([*changed, *new])
        self._write((staying | now).values(), [file for file in unsure if file.name not in now])

    def _differs(self, file: StoredFile, kept: Mapping[str, StoredFile]) -> bool:
        """Whether the store may hold another content of a file than this one."""
        return file != kept[file.name] or any(coming.name == file.name for coming in self._index.coming)

    def _upload(self, files: list[StoredFile]) -> None:
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="upload") as threads:
            sent = [threads.submit(self._send, file) for file in files]
            try:
                for each in sent:
                    each.result()
            finally:
                # Those that have begun come to their end: what is cut off may be taken for an object by the store.
                for each in sent:
                    each.cancel()

    def _send(self, file: StoredFile) -> None:
        if self._objects.upload(self._working / file.name, file.name) != file.sha256:
            # The next snapshot has it as it is then.
            raise OSError(f"{self._working / file.name} changed while it was sent")

    def _write(self, files: Iterable[StoredFile], coming: Iterable[StoredFile]) -> None:
        index = new_index(tuple(sorted(files, key=lambda file: file.name)), tuple(coming))
        self._check()
        self._mark = self._mark.add(self._working, index.revision)
        write_index(self._objects, index)
        self._index = index
