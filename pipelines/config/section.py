"""What every section of a recipe is: frozen, and closed to unknown keys."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


def check_revision(source: str, revision: str | None) -> None:
    """Raise ValueError where a revision is named and nothing is fetched from the hub."""
    if revision is not None and source != "hub":
        raise ValueError(f"revision {revision!r} goes with source hub, where it names a commit; leave it out")


class Section(BaseModel):
    """A frozen part of a recipe; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")
