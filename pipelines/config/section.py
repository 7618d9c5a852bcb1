"""What every section of a recipe is: frozen, and closed to unknown keys. What its paths may be: also addresses.

What a run reads may be at an address, from which it is fetched (`pipelines.runs.inputs`). The run's recipe holds the
address on every machine. What reads the setting sees the local path of the copy.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, PlainSerializer


def check_revision(source: str, revision: str | None) -> None:
    """Raise ValueError where a revision is named and nothing is fetched from the hub."""
    if revision is not None and source != "hub":
        raise ValueError(f"revision {revision!r} goes with source hub, where it names a commit; leave it out")


def read_setting(setting: str, file: Path) -> str:
    """The text of a file that a setting names, without blank ends.

    Raises:
        ValueError: it cannot be read.
    """
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{setting} {file} cannot be read ({error}); give a UTF-8 text file") from error


def with_source(given: Any) -> Any:
    """A model's section in which a path that no hub id can be is of a folder.

    So `--set model.path=/models/mine` is enough to take a folder in place of a recipe's hub id. A hub id is a name, or
    ORGANISATION/NAME. It begins with neither of / . ~ and is no address.
    """
    if not isinstance(given, Mapping) or given.get("source") != "hub":
        return given
    path = str(given.get("path") or "")
    return {**given, "source": "folder"} if path.startswith(("/", ".", "~")) or is_address(path) else given


class Section(BaseModel):
    """A frozen part of a recipe; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class FetchedPath(str):
    """A local path that a recipe writes down as the address it was fetched from."""

    address: str

    @classmethod
    def of(cls, local: Path, address: str) -> Self:
        path = cls(local)
        path.address = address
        return path


def as_written(path: str) -> str:
    """A path as a recipe holds it."""
    return path.address if isinstance(path, FetchedPath) else path


def is_address(path: str) -> bool:
    """Whether it is still to be fetched."""
    return "://" in path


# A file or folder that is read: a path, or an address as s3://BUCKET/FOLDER (`pipelines.runs.inputs` fetches it).
InputPath = Annotated[str, PlainSerializer(as_written, return_type=str)]
