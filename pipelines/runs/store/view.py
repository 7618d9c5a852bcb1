"""A stored run to look at: a folder in which what is small is real, and of everything else there is name and size.

Shards and weights may be terabytes, and what tells of a run (its list, page, times and sums) reads neither. A file that
stands for one of them is sparse and full of zeros: no Parquet, no safetensors. A change that was planned on a view is
made there, and carried over under the run's lease. A run is held against its sums by reading every object once.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from actors.contract.run_folder import RunFolder
from actors.errors import SalusError
from pipelines.runs.checksums import Checked, check_sums, file_names, read_sums
from pipelines.runs.lease.files import LeaseFiles
from pipelines.runs.lease.lease import hold_lease
from pipelines.runs.store.contents import KnownFiles, snapshot
from pipelines.runs.store.faults import told
from pipelines.runs.store.fetch import fetch
from pipelines.runs.store.index import StoreIndex, read_index
from pipelines.runs.store.leases import StoredLeases
from pipelines.runs.store.mirror import AT_ONCE, Mirror
from pipelines.runs.store.objects import Objects

# What records are written as, and how large one may be before only its size is told.
_RECORDS = frozenset({".json", ".jsonl", ".yaml"})
_SMALL_BYTES = 4 * 2**20
_TRIES = 5
_SUMS = RunFolder(Path("run")).sums.name


@dataclass(frozen=True)
class RunView:
    """One stored run, and the folder that shows it."""

    objects: Objects
    index: StoreIndex
    root: Path
    known: KnownFiles

    def fetch_all(self) -> None:
        """Make every file real.

        Raises:
            SalusError: an object is not what the index names, or the store refuses.
        """
        self._fetch(self.index.sums())

    def fetch_below(self, folder: Path) -> None:
        """Make the files below one of the view's folders real. Raises as `fetch_all` does."""
        beginning = f"{folder.relative_to(self.root).as_posix()}/"
        self._fetch(name for name in self.index.sums() if name.startswith(beginning))

    def fetch_file(self, path: Path) -> None:
        """Make one of the view's files real. Raises as `fetch_all` does."""
        name = path.relative_to(self.root).as_posix()
        self._fetch(each for each in self.index.sums() if each == name)

    def _fetch(self, names: Iterable[str]) -> None:
        with told(self.objects.place, "read"):
            for name, sha256 in fetch(self.objects, self.index, names, self.root).items():
                self.known.know(name, sha256)


def view_of(objects: Objects, parent: Path) -> RunView | None:
    """The view of a run, in a folder that has its name; None where there is no run."""
    root = parent / objects.place.name
    with told(objects.place, "read"):
        for left in reversed(range(_TRIES)):
            index = read_index(objects)
            if index is None:
                return None
            root.mkdir(parents=True, exist_ok=True)
            view = RunView(objects, index, root, KnownFiles(root))
            try:
                _fill(view)
                return view
            except SalusError:
                # The run may go on meanwhile, and remove what this index names and the next one does not; an earlier
                # version writes over it.
                again = read_index(objects)
                goes_on = again is None or again.revision != index.revision or bool(again.coming)
                if not left or not goes_on:
                    raise
                shutil.rmtree(root)
    return None


@contextmanager
def changing(view: RunView, lease_s: float, say: Callable[[str], None]) -> Iterator[None]:
    """The run is this process's own inside; at the end the store is brought to what the view holds.

    Raises:
        SalusError: a process is at work there, or was since the view was made; or the store refuses.
    """
    place = view.objects.place
    with hold_lease(StoredLeases(view.objects), lease_s, say) as lease:
        with told(place, "read"):
            index = read_index(view.objects)
        if index is None or index.revision != view.index.revision:
            raise SalusError(f"{place} has changed since it was looked at; run the same command again.")
        yield
        with told(place, "change"):
            mirror = Mirror(view.objects, index, view.root, view.known, lease.check, lease.number)
            mirror.push(snapshot(RunFolder(view.root)))


def check_stored(view: RunView, may_miss: Set[str] = frozenset()) -> Checked:
    """`pipelines.runs.checksums.check_sums` of a stored run; its view names the objects that are there.

    Raises:
        SalusError: the run has no sums yet, or the store refuses.
    """
    folder = RunFolder(view.root)
    # Where there are none, nothing is read.
    read_sums(folder)
    names, files = list(file_names(folder)), view.index.by_name()
    with told(view.objects.place, "read"), ThreadPoolExecutor(AT_ONCE, thread_name_prefix="verify") as threads:
        found = threads.map(view.objects.sum, [files[name].object_name for name in names])
        sums = dict(zip(names, found, strict=True))
    return check_sums(folder, may_miss, sums.__getitem__)


def _fill(view: RunView) -> None:
    """Bring into the view's folder what it shows."""
    objects, listed = view.objects, view.objects.list()
    sizes = {file.name: listed[file.object_name].bytes for file in view.index.files if file.object_name in listed}
    there = [file for file in view.index.files if file.name in sizes]
    small = {file.name for file in there if _is_small(file.name, sizes[file.name])}
    for name, sha256 in fetch(objects, view.index, sorted(small), view.root).items():
        view.known.know(name, sha256)
    for file in there:
        if file.name not in small:
            _stand_in(view.root / file.name, sizes[file.name])
            view.known.know(file.name, file.sha256)
    if (lease := StoredLeases(objects).last()) is not None:
        # The question whether a process is at work there is answered from the folder.
        LeaseFiles(view.root).write(lease)


def _is_small(name: str, size: int) -> bool:
    path = PurePosixPath(name)
    return size <= _SMALL_BYTES and (path.suffix in _RECORDS or name == _SUMS)


def _stand_in(path: Path, size: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.truncate(size)
