"""The policies an endpoint tried and refused, kept beside its status: it must not come up with one of them."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from actors.contract.records import Record
from actors.files.records import find_record
from actors.files.shards import write_text


class RefusedVersions(Record):
    """Why each version was refused."""

    versions: dict[str, str] = Field(default_factory=dict)


class RefusedFile:
    """The file of one endpoint. It outlives the endpoint's process; a version that goes live after all leaves it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def why(self, version: str) -> str | None:
        """Why a version was refused; None where it was not.

        Raises:
            SalusError: the file cannot be read.
        """
        return self._known().get(version)

    def add(self, version: str, why: str) -> None:
        self._write(self._known() | {version: why})

    def drop(self, version: str) -> None:
        known = self._known()
        if known.pop(version, None) is not None:
            self._write(known)

    def _known(self) -> dict[str, str]:
        cure = "delete it, and watch what the endpoint serves"
        found = find_record(RefusedVersions, self._path, "a list of refused policies", cure)
        return dict(found.versions) if found is not None else {}

    def _write(self, versions: dict[str, str]) -> None:
        write_text(RefusedVersions(versions=versions).model_dump_json(indent=2) + "\n", self._path)
