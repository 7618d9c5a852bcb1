"""What every section of a recipe is: frozen, and closed to unknown keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from pipelines.config.address import is_address


def check_revision(source: str, revision: str | None) -> None:
    """Raise ValueError where a revision is named and nothing is fetched from the hub."""
    if revision is not None and source != "hub":
        raise ValueError(f"revision {revision!r} goes with source hub, where it names a commit; leave it out")


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
