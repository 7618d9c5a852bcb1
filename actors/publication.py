"""What a run put live, and the log of it; kept from the publisher, whose parts take seconds to import."""

from __future__ import annotations

from pathlib import Path

from actors.record_files import read_lines
from actors.records import Record
from actors.run_folder import RunFolder
from actors.run_names import RunNames


class Publication(Record):
    """One policy gone live."""

    version: str
    # Of its folder; in the log by the run's own names (`actors.run_names`).
    path: str
    # The cycle whose decision this carries out; 0 is the deployed model.
    cycle: int
    # ISO 8601, UTC.
    published_at: str
    # The same of its beginning; None in logs of earlier versions.
    began_at: str | None = None
    # From the first pause to the last resume; 0 for the first deployment, which swaps nothing.
    swap_s: float
    replicas: int
    # The version served before; None for the first.
    previous: str | None


def read_publications(log: Path) -> list[Publication]:
    """Every publication of a run, oldest first; none where it published nothing.

    Raises:
        SalusError: the log cannot be read, or a line is no publication.
    """
    lines = read_lines(Publication, log, "a publication", "take the file from a copy of the run")
    names = RunNames(RunFolder(log.parent))
    return [line.model_copy(update={"path": names.path(line.path)}) for line in lines]
