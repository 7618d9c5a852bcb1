"""Settings that name what a run reads: a path of this machine, or an address from which it is fetched.

A run's recipe holds the address on every machine. What reads the setting sees the folder that it was fetched into.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import PlainSerializer


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
