"""A stored run to look at: a folder in which what is small is real, and of everything else there is name and size.

Shards and weights may be terabytes, and what tells of a run (its list, page, times and sums) reads neither. A file that
stands for one of them is sparse and full of zeros: no Parquet, no safetensors.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from actors.errors import SalusError
from actors.run_folder import RunFolder
from pipelines.lease_files import LeaseFiles
from pipelines.store.connect import connect
from pipelines.store.contents import KnownFiles
from pipelines.store.faults import told
from pipelines.store.fetch import fetch
from pipelines.store.index import StoreIndex, read_index
from pipelines.store.leases import StoredLeases
from pipelines.store.objects import Objects
from pipelines.store.place import RemotePlace, place_of

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

    def _fetch(self, names: Iterable[str]) -> None:
        with told(self.objects.place, "read"):
            for name, sha256 in fetch(self.objects, self.index, names, self.root).items():
                self.known.know(name, sha256)


@contextmanager
def readable(text: str) -> Iterator[tuple[Path, RunView | None]]:
    """A run to read: its own folder, or the view of a stored one while this is open.

    Raises:
        SalusError: the store is out of reach, or holds no run there.
    """
    place = place_of(text)
    if isinstance(place, Path):
        yield place, None
        return
    with tempfile.TemporaryDirectory(prefix="salus-read-") as folder:
        view = _view(connect(place), Path(folder))
        if view is None:
            raise SalusError(f"{place} is not a run of Salus; salus runs list tells those below an address.")
        with _called(place, view.root):
            yield view.root, view


@contextmanager
def readable_runs(text: str) -> Iterator[tuple[Path, dict[Path, RunView]]]:
    """A folder of runs to read, or one run: the folder itself, or one of views, with each view by its folder.

    Raises:
        SalusError: as `readable`; a place without any run shows none.
    """
    place = place_of(text)
    if isinstance(place, Path):
        yield place, {}
        return
    objects = connect(place)
    with tempfile.TemporaryDirectory(prefix="salus-read-") as folder:
        root = Path(folder) / place.name
        root.mkdir()
        # A run's own folders are not looked through for runs.
        found = [_view(objects, Path(folder))] if _is_run(objects) else _views_below(objects, root)
        with _called(place, root):
            yield root, {view.root: view for view in found if view is not None}


@contextmanager
def _called(place: RemotePlace, root: Path) -> Iterator[None]:
    """Let sentences name the address and not the folder that shows it.

    Raises:
        SalusError: one was raised inside.
    """
    try:
        yield
    except SalusError as error:
        raise SalusError(error.sentence.replace(str(root), str(place))) from error


def _views_below(objects: Objects, root: Path) -> list[RunView | None]:
    with told(objects.place, "list"):
        names = [name for name in objects.folders() if not name.startswith(".")]
    return [_view(objects.at(name), root) for name in names]


def _is_run(objects: Objects) -> bool:
    with told(objects.place, "read"):
        return read_index(objects) is not None


def _view(objects: Objects, parent: Path) -> RunView | None:
    """The view of a run, in a folder that has its name; None where there is no run."""
    root = parent / objects.place.name
    with told(objects.place, "read"):
        for left in reversed(range(_TRIES)):
            index = read_index(objects)
            if index is None:
                return None
            root.mkdir(exist_ok=True)
            view = RunView(objects, index, root, KnownFiles(root))
            try:
                _fill(view)
                return view
            except SalusError:
                # The run goes on meanwhile, and wrote over what this index names.
                again = read_index(objects)
                if not left or (again is not None and again.revision == index.revision):
                    raise
                shutil.rmtree(root)
    return None


def _fill(view: RunView) -> None:
    """Bring into the view's folder what it shows."""
    objects, listed = view.objects, view.objects.listed()
    there = [file for file in view.index.files if file.name in listed]
    small = {file.name for file in there if _is_small(file.name, listed[file.name].bytes)}
    for name, sha256 in fetch(objects, view.index, sorted(small), view.root).items():
        view.known.know(name, sha256)
    for file in there:
        if file.name not in small:
            _stand_in(view.root / file.name, listed[file.name].bytes)
            view.known.know(file.name, file.sha256)
    if (lease := StoredLeases(objects).last()) is not None:
        # Whoever asks whether somebody is at work there looks at the folder.
        LeaseFiles(view.root).write(lease)


def _is_small(name: str, size: int) -> bool:
    path = PurePosixPath(name)
    return size <= _SMALL_BYTES and (path.suffix in _RECORDS or name == _SUMS)


def _stand_in(path: Path, size: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.truncate(size)
