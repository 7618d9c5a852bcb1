"""A change to a stored run that was planned on its view: made there, and carried over under the run's lease."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from actors.contract.run_folder import RunFolder
from actors.errors import SalusError
from pipelines.runs.lease.lease import hold_lease
from pipelines.runs.store.contents import snapshot
from pipelines.runs.store.faults import told
from pipelines.runs.store.index import read_index
from pipelines.runs.store.leases import StoredLeases
from pipelines.runs.store.mirror import Mirror
from pipelines.runs.store.view import RunView


@contextmanager
def changing(view: RunView, lease_s: float, say: Callable[[str], None]) -> Iterator[None]:
    """The run is this process's own inside; at the end the store is brought to what the view holds.

    Raises:
        SalusError: somebody is at work there or was since it was looked at, or the store refuses.
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
