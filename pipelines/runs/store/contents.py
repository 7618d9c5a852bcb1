"""The files of a run folder that belong into a store, and whether one was written since it was last looked at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from actors.contract.run_folder import RunFolder
from actors.files.sums import file_sum
from pipelines.runs.checksums import file_names
from pipelines.runs.store.index import StoredFile

_TRIES = 5


@dataclass(frozen=True)
class Stamp:
    """What changes when a file is written."""

    bytes: int
    changed_ns: int

    @classmethod
    def of(cls, path: Path) -> Stamp | None:
        """A file's; None where there is none."""
        try:
            stat = path.stat()
        except FileNotFoundError:
            return None
        return cls(stat.st_size, stat.st_mtime_ns)


# Files by name, as they were at one moment.
Snapshot = Mapping[str, Stamp]


def snapshot(folder: RunFolder) -> Snapshot:
    """Every file of the run, but what is being written and what only this machine needs (Ray Train's state).

    OSError where the folder cannot be listed.
    """
    for left in reversed(range(_TRIES)):
        try:
            return _snapshot(folder)
        except FileNotFoundError:
            # Ray Train removed a folder of its own that was about to be looked into.
            if not left:
                raise
    return {}


def _snapshot(folder: RunFolder) -> Snapshot:
    apart = [path.name for path in folder.unsummed if path.is_file()]
    stamps = {name: Stamp.of(folder.root / name) for name in (*file_names(folder), *apart)}
    return {name: stamp for name, stamp in stamps.items() if stamp is not None}


class KnownFiles:
    """Sums of a folder's files; one is read again only when its stamp has changed."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._known: dict[str, tuple[Stamp, str]] = {}

    def know(self, name: str, sha256: str) -> None:
        """Take a file's sum as known, as the file is there now."""
        if (stamp := Stamp.of(self._root / name)) is not None:
            self._known[name] = (stamp, sha256)

    def stored(self, there: Snapshot) -> list[StoredFile]:
        """The files of a snapshot with their sums; those written or removed since are left out."""
        found = [self._stored(name, stamp) for name, stamp in there.items()]
        return [file for file in found if file is not None]

    def _stored(self, name: str, stamp: Stamp) -> StoredFile | None:
        path, known = self._root / name, self._known.get(name)
        if known is None or known[0] != stamp:
            try:
                known = (stamp, file_sum(path))
            except FileNotFoundError:
                return None
        if Stamp.of(path) != stamp:
            return None
        self._known[name] = known
        return StoredFile(name=name, bytes=stamp.bytes, sha256=known[1])
