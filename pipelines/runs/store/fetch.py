"""From a store into a folder: files are compared by content, and what comes is held against the index."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from actors.contract.run_folder import RunFolder
from actors.errors import SalusError
from actors.files.sums import file_sum
from pipelines.runs.store.contents import KnownFiles, snapshot
from pipelines.runs.store.index import StoreIndex
from pipelines.runs.store.mirror import AT_ONCE
from pipelines.runs.store.objects import Objects


def fetch(objects: Objects, index: StoreIndex, names: Iterable[str], root: Path) -> dict[str, str]:
    """Bring some of a stored run's files into a folder, several at once; returns their sums. OSError passes through.

    Raises:
        SalusError: an object is missing, or is not what the index names.
    """
    sums, files = index.sums(), index.by_name()
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="fetch") as threads:
        coming = {
            name: threads.submit(_fetch_one, objects, files[name].object_name, sums[name], root / name)
            for name in names
        }
        try:
            return {name: each.result() for name, each in coming.items()}
        finally:
            for each in coming.values():
                each.cancel()


def make_equal(objects: Objects, index: StoreIndex, root: Path, known: KnownFiles) -> int:
    """Make a folder hold the stored run's files and no others of the kind; returns how many came.

    What the store lacks came of a session that another one, elsewhere, has left behind. Raises as `fetch` does.
    """
    sums = index.sums()
    for name in snapshot(RunFolder(root)):
        if name not in sums:
            (root / name).unlink()
    here = {name: file_sum(root / name) for name in sums if (root / name).is_file()}
    missing = [name for name in sums if here.get(name) not in sums[name]]
    for name, sha256 in (here | fetch(objects, index, missing, root)).items():
        known.know(name, sha256)
    return len(missing)


def _fetch_one(objects: Objects, name: str, sums: frozenset[str], target: Path) -> str:
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        found = objects.download(name, temporary)
        if found not in sums:
            raise SalusError(
                f"{objects.place}/{name} is not what the run left there (SHA-256 {found}); take it from a copy, or"
                " begin anew with --fresh."
            )
        temporary.replace(target)
    except FileNotFoundError as error:
        raise SalusError(
            f"{objects.place}/{name} is gone, though the run left it there; take it from a copy, or begin anew with"
            " --fresh."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    return found
