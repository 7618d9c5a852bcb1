"""A stored run held against its sums: every object is read once, where it lies."""

from __future__ import annotations

from collections.abc import Set
from concurrent.futures import ThreadPoolExecutor

from actors.contract.run_folder import RunFolder
from pipelines.runs.checksums import Checked, check_sums, file_names, read_sums
from pipelines.runs.store.faults import told
from pipelines.runs.store.mirror import AT_ONCE
from pipelines.runs.store.view import RunView


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
