"""Leases in a store: numbered objects, taken as those of a folder on disk are (`pipelines.runs.lease.files`).

Earlier versions wrote `.lease/N-TOKEN.json`: those are read, and a lease taken after one has a higher number.
"""

from __future__ import annotations

import time

from pydantic import ValidationError

from actors.errors import SalusError
from pipelines.runs.lease.files import FOLDER, LeaseRecord
from pipelines.runs.store.numbered import NumberedObject, NumberedObjects
from pipelines.runs.store.objects import Objects, Version
from pipelines.runs.store.place import RemotePlace

FRESH_S = 2.5


class StoredLeases:
    """The leases of one place (`pipelines.runs.lease.lease.Leases`). OSError passes through.

    `fresh_s`: for how long `last` does not ask the store again; less than a beat.
    """

    def __init__(self, objects: Objects, fresh_s: float = FRESH_S) -> None:
        self._objects = objects
        self._numbered = NumberedObjects(objects, FOLDER, others="(-[0-9a-f]{32})?")
        self._fresh_s = fresh_s
        # As it was written last; no other process writes it.
        self._mine: LeaseRecord | None = None
        self._version: Version = {}
        self._seen: LeaseRecord | None = None
        self._seen_at = float("-inf")

    @property
    def root(self) -> RemotePlace:
        return self._objects.place

    def last(self) -> LeaseRecord | None:
        """The lease that holds."""
        if time.monotonic() - self._seen_at > self._fresh_s:
            self._seen, self._seen_at = self._look(), time.monotonic()
        return self._seen

    def add(self, record: LeaseRecord) -> bool:
        """Take a lease and remove those before it; False where another process was quicker.

        Raises:
            SalusError: the store creates an object where there is one, so it cannot keep two processes apart.
        """
        self._seen_at = float("-inf")
        added = self._numbered.add(record.number, _content(record))
        if added is None:
            return False
        if self._objects.put_if_absent(added.name, added.found.content) is not None:
            if max(self._numbered.names().values(), default=0) > record.number:
                # Taken over, and removed, since.
                self._objects.delete([added.name])
                return False
            raise SalusError(
                f"The store of {self.root} does not refuse to create an object twice (If-None-Match), so two machines"
                " could work on one run. Use a server that does, as S3 itself and MinIO do, or a local folder."
            )
        self._mine, self._version = record, added.found.version
        return True

    def write(self, record: LeaseRecord) -> None:
        """Write a lease anew, for its holder alone: it is not written where it was removed or is another's."""
        name = self._numbered.name(record.number)
        version = self._objects.put_if_match(name, _content(record), self._version)
        there = self._objects.get(name) if version is None else None
        # Its own beat, where the answer to that was lost.
        if there is not None and _record(NumberedObject(name, record.number, there)).holder == record.holder:
            version = self._objects.put_if_match(name, _content(record), there.version)
        if version is None:
            self._mine, self._seen_at = None, float("-inf")
        else:
            self._mine, self._version = record, version

    def _look(self) -> LeaseRecord | None:
        if self._mine is not None:
            names = self._numbered.names()
            # Listing is enough while it is this process's own.
            if names.get(self._numbered.name(self._mine.number)) == max(names.values(), default=0):
                return self._mine
        records = [_record(each) for each in self._numbered.highest()]
        # Of several, from an earlier version, one that withdrew or was given back hides no other.
        return max(records, key=lambda record: (not record.given_back, record.beat_at), default=None)


def _record(numbered: NumberedObject) -> LeaseRecord:
    found = numbered.found
    try:
        return LeaseRecord.model_validate_json(found.content).model_copy(update={"number": numbered.number})
    except ValidationError:
        changed = found.changed_at
        return LeaseRecord(number=numbered.number, holder=None, taken_at=changed, beat_at=changed)


def _content(record: LeaseRecord) -> bytes:
    return record.model_dump_json(indent=2).encode()
