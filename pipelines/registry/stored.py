"""A registry in an object store: its records are copied here, and a change holds once the store has it whole.

Two administrators who promote at once follow each other (`pipelines.runs.store.shared`). Weights are fetched when they
are asked for. The files of endpoints that follow (`serving/`) stay on their machine, and no other one sees them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from actors.errors import SalusError
from actors.serve.audit_log import AuditEntry, AuditLog, AuditState
from actors.serve.publication_audit import PublicationAudit
from pipelines.registry.entry import PolicyEntry
from pipelines.registry.history import Change, Clock, History, OpenHistory
from pipelines.registry.store import AUDIT, HISTORY, MERGED, RECORD, SERVING, Registry
from pipelines.runs.contents import Contents
from pipelines.runs.store.connect import connect
from pipelines.runs.store.index import StoreIndex
from pipelines.runs.store.place import RemotePlace, address_of, copy_of
from pipelines.runs.store.shared import FolderMovedError, SharedFolder

_TRIES = 5
# Slashes in the name of a policy's weights, NAME/VERSION/merged/model.safetensors; its record has two.
_WEIGHT_DEPTH = 3


class StoredHistory(History):
    """The history of a registry in a store."""

    def __init__(self, folder: SharedFolder, clock: Clock) -> None:
        super().__init__(folder.root / HISTORY, clock)
        self._folder = folder

    def changes(self) -> tuple[Change, ...]:
        self._folder.refresh()
        return super().changes()

    @contextmanager
    def changing(self) -> Iterator[OpenHistory]:
        # In the store once all is written that belongs to the change.
        with self._folder.changing(), super().changing() as history:
            yield history


class StoredAuditLog(AuditLog):
    """The audit log of a registry in a store: an entry is there when it is appended, or with the change around it."""

    def __init__(self, folder: SharedFolder, clock: Clock) -> None:
        super().__init__(folder.root / AUDIT, clock)
        self._folder = folder

    def append(self, who: str, action: str, detail: str = "") -> str:
        for left in reversed(range(_TRIES)):
            try:
                with self._folder.changing():
                    return super().append(who, action, detail)
            except FolderMovedError:
                # Behind the other's entry, it follows from that one.
                if not left:
                    raise
        raise AssertionError("unreachable")

    def readable(self) -> tuple[tuple[AuditEntry, ...], SalusError | None]:
        self._folder.refresh()
        return super().readable()

    def verify(self, head: str | None = None) -> AuditState:
        self._folder.refresh()
        return super().verify(head)


class StoredRegistry(Registry):
    """A registry at an address. Its policies have their weights with them.

    Raises:
        SalusError: the store is out of reach, or refuses.
    """

    def __init__(self, place: RemotePlace, clock: Clock = lambda: datetime.now(UTC)) -> None:
        super().__init__(copy_of(place, "registries"), clock)
        self.where = str(place)
        self._prepared = False
        objects = connect(place, "give another address with --registry")
        self._shared = SharedFolder(objects, self.root, _check_registry(place), _is_weight, _is_own)
        self.history = StoredHistory(self._shared, clock)
        self.log = StoredAuditLog(self._shared, clock)
        self.audit = PublicationAudit(self.log)

    def prepare(self) -> None:
        self._shared.refresh()
        # As a local one that has its folder: an empty registry, and not none.
        self._prepared = True

    def beside(self, name: str, setting: str) -> Path:
        raise SalusError(f"The registry {self.where} is in a store, which keeps no {name}; set {setting} to a folder.")

    def entries(self) -> tuple[PolicyEntry, ...]:
        self._shared.refresh()
        found = super().entries()
        if not found and not self._prepared:
            raise SalusError(f"There is no registry {self.where}; register a run first: salus policy register RUN.")
        return found

    def weights(self, entry: PolicyEntry, kind: str = MERGED) -> tuple[Path, Contents]:
        folder, contents = super().weights(entry, kind)
        if folder.is_relative_to(self.root):
            self._shared.fetch_below(folder)
        return folder, contents

    def put(self, entry: PolicyEntry, card: str, copy: bool) -> PolicyEntry:
        # A folder of this machine would be nowhere for others.
        with self._shared.changing():
            return super().put(entry, card, copy=True)


def open_registry(root: Path | str, clock: Clock = lambda: datetime.now(UTC)) -> Registry:
    """A registry by its folder or its address, as s3://BUCKET/REGISTRY.

    Raises:
        SalusError: it is no address of a store, or the store is out of reach or refuses.
    """
    place = address_of(root)
    return Registry(Path(root), clock) if place is None else StoredRegistry(place, clock)


def run_audit(place: RemotePlace, clock: Clock = lambda: datetime.now(UTC)) -> StoredAuditLog:
    """The audit log of what is served from a run at an address, in the folder `audit` below it.

    Serving needs no lease of the run, so this log is apart from that of the run's own publications.

    Raises:
        SalusError: the store is out of reach, or refuses.
    """
    below = place / "audit"
    objects = connect(below, "give another address with --run")
    shared = SharedFolder(objects, copy_of(below, "audits"), lambda index: None, lambda name: False, lambda name: False)
    return StoredAuditLog(shared, clock)


def _is_weight(name: str) -> bool:
    return name.count("/") >= _WEIGHT_DEPTH


def _is_own(name: str) -> bool:
    return name.partition("/")[0] == SERVING


def _check_registry(place: RemotePlace) -> Callable[[StoreIndex], None]:
    def check(index: StoreIndex) -> None:
        names = index.by_name()
        own = {HISTORY, AUDIT} & set(names) or any(name.endswith(f"/{RECORD}") for name in names)
        if names and not own:
            raise SalusError(f"{place} holds no registry but something else, such as a run; give another address.")

    return check
