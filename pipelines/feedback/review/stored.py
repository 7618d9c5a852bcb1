"""People's labels by folder or by address: at an address a label is kept once the store has it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from actors.errors import SalusError
from pipelines.feedback.review.consensus import Standing
from pipelines.feedback.review.labels import LOG, Clock, LabelLog, Line
from pipelines.runs.store.connect import connect
from pipelines.runs.store.index import StoreIndex
from pipelines.runs.store.place import RemotePlace, address_of, copy_of
from pipelines.runs.store.shared import FolderMovedError, SharedFolder

_TRIES = 5


class StoredLabelLog(LabelLog):
    """The labels at an address, shared by the processes of all machines.

    Raises:
        SalusError: the store is out of reach, or refuses.
    """

    def __init__(self, place: RemotePlace, clock: Clock = lambda: datetime.now(UTC)) -> None:
        objects = connect(place, "give another address of labels")
        root = copy_of(place, "labels")
        self._shared = SharedFolder(objects, root, _check(place), lambda name: False, lambda name: False)
        super().__init__(root, clock)

    def standing(self) -> Standing:
        self._shared.refresh()
        # Other machines' lines may be where this one's, which did not reach the store, were.
        self._forget()
        return super().standing()

    def _append(self, make: Callable[[Standing], Line | None]) -> Line | None:
        for left in reversed(range(_TRIES)):
            self._forget()
            try:
                with self._shared.changing():
                    return super()._append(make)
            except FolderMovedError:
                # It is made again for what is there by now.
                if not left:
                    raise
        raise AssertionError("unreachable")


def open_labels(place: Path | str, clock: Clock = lambda: datetime.now(UTC)) -> LabelLog:
    """The labels of a folder or an address, as s3://BUCKET/LABELS.

    Raises:
        SalusError: it is no address of a store, or the store is out of reach or refuses.
    """
    remote = address_of(place)
    return LabelLog(Path(place), clock) if remote is None else StoredLabelLog(remote, clock)


def read_labels(place: Path | str) -> Standing:
    """What the reviewers of a folder of labels say.

    Raises:
        SalusError: there is no such folder, or its log cannot be read.
    """
    log = open_labels(place)
    standing = log.standing()
    there = log.path.is_file() if isinstance(log, StoredLabelLog) else log.path.parent.is_dir()
    if not there:
        where = address_of(place) or place
        raise SalusError(f"There is no folder of labels {where}; label answers on the page /review first.")
    return standing


def _check(place: RemotePlace) -> Callable[[StoreIndex], None]:
    def check(index: StoreIndex) -> None:
        if index.files and LOG not in index.by_name():
            raise SalusError(f"{place} holds no labels but something else, such as a run; give another address.")

    return check
