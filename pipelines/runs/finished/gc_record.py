"""`gc.json`: what was removed from a finished run, with the sums it had, so that lineage and sums account for it."""

from __future__ import annotations

from actors.contract.records import Record
from actors.contract.run_folder import RunFolder
from actors.files.records import find_record


class Removed(Record):
    """One folder or file that was removed."""

    # Relative to the run folder.
    path: str
    bytes: int
    # ISO 8601, UTC.
    removed_at: str
    # SHA-256 of its files as the run's sums name them; empty for what the sums leave out.
    sums: dict[str, str]


class GcRecord(Record):
    """Everything `salus runs gc` ever removed from one run; written before, so some of it may still lie there."""

    removed: tuple[Removed, ...] = ()


def read_gc_record(folder: RunFolder) -> GcRecord:
    """What was removed so far; nothing where there is no record.

    Raises:
        SalusError: the record cannot be read.
    """
    return find_record(GcRecord, folder.collected, "a record of salus runs gc") or GcRecord()


def removed_sums(folder: RunFolder) -> dict[str, str]:
    """SHA-256 of every file of the run that was removed, by name.

    Raises:
        SalusError: the record cannot be read.
    """
    return {name: of for each in read_gc_record(folder).removed for name, of in each.sums.items()}
