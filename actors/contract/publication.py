"""What a run put live, and the log of it; kept from the publisher, whose parts take seconds to import."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel

from actors.contract.records import PolicyRef, Record
from actors.contract.run_folder import RunFolder
from actors.contract.run_names import RunNames
from actors.errors import SalusError, reason
from actors.files.records import find_record, read_lines
from actors.files.shards import write_text


class Publication(Record):
    """One policy gone live."""

    version: str
    # Of its folder; in the log by the run's own names (`actors.contract.run_names`).
    path: str
    # The cycle whose decision this carries out; 0 is the deployed model.
    cycle: int
    # ISO 8601, UTC.
    published_at: str
    # The same of its beginning; None in logs of earlier versions.
    began_at: str | None = None
    # From the first pause to the last resume, without a trial; 0 for the first deployment, which swaps nothing.
    swap_s: float
    replicas: int
    # The version served before; None for the first.
    previous: str | None
    # What smoke prompts and canary came to, in a sentence or two, and how long they took; None without any.
    trial: str | None = None
    trial_s: float | None = None


class RefusedPublication(Record):
    """One policy that was tried and did not go live; part of the decision it was to carry out."""

    version: str
    step: Literal["load", "smoke", "canary"]
    # Why, in a sentence.
    refused: str
    # ISO 8601, UTC.
    refused_at: str


class PublicationRefusedError(SalusError):
    """The policy was found unfit before or while it answered a share of clients, and the old one is back everywhere."""

    def __init__(self, refusal: RefusedPublication) -> None:
        super().__init__(refusal.refused)
        self.refusal = refusal

    def __reduce__(self) -> tuple[type[Self], tuple[RefusedPublication]]:  # type: ignore[override]
        return (type(self), (self.refusal,))


def not_published(policy: PolicyRef, served: PolicyRef, error: Exception) -> str:
    """The sentence on a publication that failed, and left what was served."""
    return f"Policy {policy.version} could not be published and {served.version} stays: {reason(error)}"


class _Decided(BaseModel):
    """A decision record, of which only this much is looked at here."""

    publication: RefusedPublication | None = None


def find_refusal(decision: Path) -> RefusedPublication | None:
    """What a decision record says of a publication that was refused; None where it says nothing, or is not there.

    Raises:
        SalusError: it cannot be read.
    """
    found = find_record(_Decided, decision, "a decision", "delete it and run the same command again")
    return found.publication if found is not None else None


def refusal_of(decision: Path, winner: PolicyRef) -> RefusedPublication | None:
    """What an earlier attempt to publish the winner came to, as `find_refusal` reads it; None: not refused."""
    refused = find_refusal(decision)
    return refused if refused is not None and refused.version == winner.version else None


def with_refusal(decision: str, refusal: RefusedPublication) -> str:
    """A decision record's JSON with the refusal in it, whatever else it holds."""
    return json.dumps(json.loads(decision) | {"publication": refusal.model_dump()}, indent=2, ensure_ascii=False)


def note_refusal(decision: Path, refusal: RefusedPublication) -> None:
    """Write a refusal into a decision record."""
    write_text(with_refusal(decision.read_text(encoding="utf-8"), refusal), decision)


def read_publications(log: Path) -> list[Publication]:
    """Every publication of a run, oldest first; none where it published nothing.

    Raises:
        SalusError: the log cannot be read, or a line is no publication.
    """
    lines = read_lines(Publication, log, "a publication", "take the file from a copy of the run")
    names = RunNames(RunFolder(log.parent))
    return [line.model_copy(update={"path": names.path(line.path)}) for line in lines]
