"""Runs to read, wherever they are: a folder is read as it is, a stored run by its view."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from actors.errors import SalusError
from pipelines.runs.store.connect import connect
from pipelines.runs.store.faults import called, told
from pipelines.runs.store.objects import Objects
from pipelines.runs.store.place import place_of
from pipelines.runs.store.view import RunView, view_of


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
        view = view_of(connect(place), Path(folder))
        if view is None:
            raise SalusError(f"{place} is not a run of Salus; salus runs list tells those below an address.")
        with called(place, view.root):
            yield view.root, view


@dataclass(frozen=True)
class RunsToRead:
    """A folder with runs in it, or one run."""

    root: Path
    # By their folders; none where the runs are no views.
    views: Mapping[Path, RunView] = field(default_factory=dict)
    # By name, what is wrong with runs that could not be shown.
    faults: Mapping[str, str] = field(default_factory=dict)


@contextmanager
def readable_runs(text: str) -> Iterator[RunsToRead]:
    """A folder of runs to read, or one run: the folder itself, or one of views while this is open.

    Raises:
        SalusError: as `readable`, but that a place without any run shows none; or the one run it is cannot be read.
    """
    place = place_of(text)
    if isinstance(place, Path):
        yield RunsToRead(place)
        return
    objects = connect(place)
    with tempfile.TemporaryDirectory(prefix="salus-read-") as folder:
        root = Path(folder) / place.name
        root.mkdir()
        # A run's own folders are not looked through for runs.
        if (view := view_of(objects, Path(folder))) is not None:
            runs = RunsToRead(root, {root: view})
        else:
            runs = _runs_below(objects, root)
        with called(place, root):
            yield runs


def _runs_below(objects: Objects, root: Path) -> RunsToRead:
    with told(objects.place, "list"):
        names = [name for name in objects.folders() if not name.startswith(".")]
    views, faults = dict[Path, RunView](), dict[str, str]()
    for name in names:
        try:
            view = view_of(objects.at(name), root)
        except SalusError as error:
            # What was fetched is not to be taken for the run.
            shutil.rmtree(root / name, ignore_errors=True)
            faults[name] = error.sentence
            continue
        if view is not None:
            views[view.root] = view
    return RunsToRead(root, views, faults)
