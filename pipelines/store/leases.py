"""Leases in a store, which cannot create an object only where there is none (Arrow offers no conditional writes).

`.lease/N-TOKEN.json`, of which the highest N holds. A lease is taken by writing an object of one's own and listing
after it: whoever is then alone with its number, and finds none higher, holds it; anybody else withdraws, waits for a
moment of random length and looks again. Listings show every object written before (S3 since 2020, Google's and file
systems always), so of two that wrote, at least one sees the other, and never do two both see themselves alone.
"""

from __future__ import annotations

import contextlib
import random
import re
import time
from datetime import UTC, datetime

from pydantic import ValidationError

from pipelines.holder import has_ended
from pipelines.lease_files import FOLDER, LeaseRecord
from pipelines.store.objects import Objects
from pipelines.store.place import RemotePlace

FRESH_S = 2.5
_NAME = re.compile(re.escape(FOLDER) + r"/(?P<number>\d{1,9})-(?P<token>[0-9a-f]{32})\.json")
_WITHDRAWN_S = (0.2, 1.5)


class StoredLeases:
    """The leases of one place (`pipelines.lease.Leases`). OSError passes through.

    `fresh_s`: for how long `last` does not ask the store again; less than a beat.
    """

    def __init__(self, objects: Objects, fresh_s: float = FRESH_S) -> None:
        self._objects = objects
        self._fresh_s = fresh_s
        # As it was written last; nobody else writes it.
        self._mine: LeaseRecord | None = None
        self._seen: LeaseRecord | None = None
        self._seen_at = float("-inf")

    @property
    def root(self) -> RemotePlace:
        return self._objects.place

    def last(self) -> LeaseRecord | None:
        """The lease that holds: this process' own among those of the highest number, or the liveliest of them."""
        if time.monotonic() - self._seen_at > self._fresh_s:
            self._seen, self._seen_at = self._look(), time.monotonic()
        return self._seen

    def add(self, record: LeaseRecord) -> bool:
        """Take a lease and remove those before it; False where another process has it, or wants it too."""
        self._seen_at = float("-inf")
        name = _name(record)
        try:
            self._objects.write(name, record.model_dump_json(indent=2).encode())
            listed = self._listed()
        except OSError:
            # If that fails too: it will keep others out until it is old.
            with contextlib.suppress(OSError):
                self._objects.remove([name])
            raise
        if name not in listed or any(number >= record.number for other, number in listed.items() if other != name):
            self._objects.remove([name])
            time.sleep(random.uniform(*_WITHDRAWN_S))
            return False
        self._mine = record
        self._objects.remove(other for other, number in listed.items() if number < record.number)
        return True

    def write(self, record: LeaseRecord) -> None:
        """Write a lease anew; for its holder alone."""
        self._objects.write(_name(record), record.model_dump_json(indent=2).encode())
        self._mine = record

    def _look(self) -> LeaseRecord | None:
        listed = self._listed()
        for number in sorted(set(listed.values()), reverse=True):
            if self._mine is not None and listed.get(_name(self._mine)) == number:
                return self._mine
            found = [self._read(name, number) for name, of in listed.items() if of == number]
            # None: withdrawn meanwhile.
            if there := [record for record in found if record is not None]:
                return _chosen(there)
        return None

    def _read(self, name: str, number: int) -> LeaseRecord | None:
        content = self._objects.read(name)
        if content is None:
            return None
        try:
            return LeaseRecord.model_validate_json(content).model_copy(update={"number": number})
        except ValidationError:
            info = self._objects.listed(FOLDER).get(name)
            changed = (info.changed_at if info is not None else None) or datetime.now(UTC)
            return LeaseRecord(number=number, holder=None, taken_at=changed, beat_at=changed)

    def _listed(self) -> dict[str, int]:
        """Names of the leases, with their numbers."""
        matches = map(_NAME.fullmatch, self._objects.listed(FOLDER))
        return {match.string: int(match["number"]) for match in matches if match is not None}


def _chosen(records: list[LeaseRecord]) -> LeaseRecord:
    """Which of several of one number holds: one that was killed before it withdrew must not hide another's."""
    living = [r for r in records if not r.given_back and not (r.holder is not None and has_ended(r.holder))]
    return max(living or [r for r in records if not r.given_back] or records, key=lambda record: record.beat_at)


def _name(record: LeaseRecord) -> str:
    # A lease that is written has a holder; only one that cannot be read has none.
    assert record.holder is not None
    return f"{FOLDER}/{record.number}-{record.holder.token}.json"
