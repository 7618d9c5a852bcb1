"""What an endpoint that follows a registry says of itself, in a file beside the registry's policies."""

from __future__ import annotations

import re
from pathlib import Path

from actors.contract.records import Record
from actors.files.records import find_record, read_record
from actors.files.shards import write_text
from pipelines.registry.store import SERVING
from pipelines.runs.lease.process import Holder, has_ended


class EndpointStatus(Record):
    """One endpoint of a registry, as its process wrote it last."""

    url: str
    holder: Holder
    # The registered version that answers; None before the first answer.
    version: str | None
    # ISO 8601, UTC.
    since: str
    # Changes of the registry it has carried out, or found that it cannot.
    changes: int
    # Why the registry's current policy is not the one that answers.
    fault: str | None = None


class StatusFile:
    """The file of one endpoint. Life: write* -> remove."""

    def __init__(self, registry: Path, url: str) -> None:
        self.path = registry / SERVING / (re.sub(r"[^A-Za-z0-9.-]+", "_", url) + ".json")

    @property
    def refused(self) -> Path:
        """Where the same endpoint keeps what it refused."""
        return self.path.parent / "refused" / self.path.name

    def write(self, status: EndpointStatus) -> None:
        write_text(status.model_dump_json(indent=2) + "\n", self.path)

    def find(self) -> EndpointStatus | None:
        """What was written last; None where nothing was, or where it was removed.

        Raises:
            SalusError: it cannot be read.
        """
        return find_record(EndpointStatus, self.path, "the status of an endpoint", "delete it")

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)


def endpoints(registry: Path) -> list[EndpointStatus]:
    """Those that follow a registry, unless their process is known to be gone.

    Raises:
        SalusError: a file is no status.
    """
    files = sorted((registry / SERVING).glob("*.json"))
    found = [read_record(EndpointStatus, file, "the status of an endpoint", "delete it") for file in files]
    return [status for status in found if not has_ended(status.holder)]
