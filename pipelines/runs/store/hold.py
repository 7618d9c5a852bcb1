"""Taking up a stored run: its lease, then its files in the working folder, then uploads as the run goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from actors.contract.run_folder import RunFolder
from actors.errors import SalusError
from pipelines.runs.lease.files import clear
from pipelines.runs.lease.lease import hold, hold_lease
from pipelines.runs.store.connect import connect
from pipelines.runs.store.contents import KnownFiles
from pipelines.runs.store.faults import told
from pipelines.runs.store.fetch import make_equal
from pipelines.runs.store.index import NO_INDEX, StoreIndex, add_index, read_index
from pipelines.runs.store.leases import StoredLeases
from pipelines.runs.store.mirror import Mirror, WrittenRevisions
from pipelines.runs.store.objects import Objects
from pipelines.runs.store.place import RemotePlace, working_folder
from pipelines.runs.store.uploads import Uploads


@dataclass(frozen=True)
class HeldRun:
    """A stored run that is this process's own."""

    working: Path
    uploads: Uploads
    # Raises SalusError once it is another's.
    check: Callable[[], None]


@contextmanager
def hold_stored(place: RemotePlace, lease_s: float, say: Callable[[str], None], fresh: bool) -> Iterator[HeldRun]:
    """Hold the lease of a stored run, with the run's files in its working folder; what is there at the end is kept.

    Raises:
        SalusError: the store is out of reach or refuses, holds something else, or another process is at work there.
    """
    if place.bucket == place.path:
        raise SalusError(f"{place} is a whole bucket; name a folder in it for the run, as {place}/RUN.")
    objects, working = connect(place), working_folder(place)
    # Nothing is left among files of something else, not even a lease.
    with told(place, "read"):
        _check_run(objects)
    with (
        hold_lease(StoredLeases(objects), lease_s, say) as far,
        hold(working, lease_s, say) as near,
    ):

        def check() -> None:
            far.check()
            near.check()

        with told(place, "take up the run in"):
            mirror = _take_up(objects, working, say, check, fresh, far.number)
        with Uploads(place, RunFolder(working), mirror, say).open() as uploads:
            yield HeldRun(working, uploads, check)


def _check_run(objects: Objects) -> None:
    # What is hidden is a lease, or an index that was never finished.
    if read_index(objects) is None and any(not name.startswith(".") for name in objects.list()):
        raise SalusError(f"{objects.place} is not empty and is not a run of Salus; give another folder with --run.")


def _take_up(
    objects: Objects, working: Path, say: Callable[[str], None], check: Callable[[], None], fresh: bool, lease: int
) -> Mirror:
    """The working folder, ahead of the store or equal to it, and the way back."""
    known, written = KnownFiles(working), WrittenRevisions.read(working)
    while True:
        before = read_index(objects)
        has_run = RunFolder(working).recipe.is_file()
        ahead = fresh or before is None or (before.revision in written.revisions and has_run)
        last = before or NO_INDEX
        # The same files once more: from here on the place is known for a run's. The process before, if it was only
        # paused, can write no index any more.
        index = last.followed_by(last.files, last.coming)
        if ahead:
            written = written.add(working, index.revision)
        if add_index(objects, index):
            break
        check()
    _sweep(objects, index)
    if fresh or before is None:
        # A run that is no more in its store is begun anew.
        clear(working)
    elif not ahead:
        came = make_equal(objects, index, working, known)
        say(f"{objects.place}: {came} of {len(index.files)} files fetched into {working}")
        written.add(working, index.revision)
    return Mirror(objects, index, working, known, check, lease)


def _sweep(objects: Objects, index: StoreIndex) -> None:
    """Remove what was left by uploads that were cut short, under the numbers of earlier leases."""
    names = (name for name in objects.list() if name.partition("/")[0].isdecimal())
    objects.delete(sorted(set(names) - index.object_names()))
