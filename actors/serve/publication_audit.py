"""Publications and rollbacks in an audit log: written down before they are done, and again with their outcome.

Without the first entry nothing is done. The second cannot undo anything any more. Where it cannot be written, what was
done remains, and a warning says so. The log then shows an intention without an outcome, as where the process died.
"""

from __future__ import annotations

import logging
import os
import pwd
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from pydantic import AliasChoices, Field, ValidationError

from actors.contract.publication import Publication
from actors.contract.records import PolicyRef, Record
from actors.contract.untrusted import CUT_MARK, cut_middle
from actors.errors import SalusError
from actors.serve.audit_log import AuditEntry, AuditLog

if TYPE_CHECKING:
    from actors.coordinator.coordinator import PolicyPublisher


def os_user() -> str:
    """The name of the user this process runs as; the number where the system knows no name."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


# "promote", "push": of a registry, which serves nothing by itself; with an endpoint, "rollback" follows a registry's.
Action = Literal["start", "publish", "promote", "approve", "rollback", "push"]
_LONGEST_TEXT = 800

logger = logging.getLogger(__name__)


class PublicationEntry(Record):
    """One publication; the detail of its audit entries, as JSON."""

    # The same before and after.
    entry: str = Field(validation_alias=AliasChoices("entry", "deed"), serialization_alias="deed")
    # The version that goes live, or becomes current; None: it was refused before it was known.
    version: str | None
    # The one it takes the place of.
    previous: str | None = None
    reason: str = ""
    # Where it is served; None: in a registry alone.
    endpoint: str | None = None
    outcome: Literal["intended", "done", "refused"] = "intended"
    # Why it was refused.
    fault: str | None = None


class OpenEntry:
    """An entry whose outcome is open. Life: begin -> done | refused; the first outcome counts, and is written once."""

    def __init__(self, log: AuditLog, who: str, action: Action, intended: PublicationEntry) -> None:
        self._log = log
        self._who = who
        self._action = action
        self._intended = intended
        self._ended = False

    def begin(self) -> None:
        """Write down what is intended. Raises SalusError where that cannot be written."""
        self._append(self._intended)

    def done(self, version: str | None, previous: str | None) -> None:
        """Write down what was done; under the lock of the change, where it has one, so that outcomes keep its order.

        Args:
            version: what went live, or became current.
            previous: what it took the place of.
        """
        self._end({"outcome": "done", "version": version, "previous": previous})

    def refused(self, fault: str) -> None:
        """Write down that nothing was done, and why."""
        self._end({"outcome": "refused", "fault": _short(fault)})

    def _end(self, outcome: dict[str, str | None]) -> None:
        if self._ended:
            return
        self._ended = True
        entry = self._intended.model_copy(update=outcome)
        try:
            self._append(entry)
        except SalusError as error:
            logger.warning(
                "The outcome of %s %s (%s) was not audited: %s", self._action, entry.version, entry.outcome, error
            )

    def _append(self, entry: PublicationEntry) -> None:
        self._log.append(self._who, self._action, entry.model_dump_json(by_alias=True, exclude_none=True))


class PublicationAudit:
    """Writes entries into one log, under the name of the operating system's user unless told otherwise."""

    def __init__(self, log: AuditLog, who: Callable[[], str] = os_user) -> None:
        self._log = log
        self._who = who

    @contextmanager
    def entry(
        self,
        action: Action,
        version: str | None,
        previous: str | None = None,
        reason: str = "",
        endpoint: str | None = None,
    ) -> Iterator[OpenEntry]:
        """What is done inside is written down; where `OpenEntry.done` was not called, as it was intended.

        Raises:
            SalusError: the intention cannot be written, and nothing was done; or as what is done inside.
        """
        intended = PublicationEntry(
            entry=uuid.uuid4().hex[:12], version=version, previous=previous, reason=_short(reason), endpoint=endpoint
        )
        entry = OpenEntry(self._log, self._who(), action, intended)
        entry.begin()
        try:
            yield entry
        except SalusError as error:
            entry.refused(error.sentence)
            raise
        entry.done(version, previous)


class AuditedPublisher:
    """A run's publisher whose publications are audited."""

    def __init__(self, publisher: PolicyPublisher, audit: PublicationAudit, url: str) -> None:
        self._publisher = publisher
        self._audit = audit
        self._url = url
        self._live: str | None = None

    def start(self, policy: PolicyRef) -> Publication:
        with self._audit.entry("start", policy.version, reason="the run's endpoint", endpoint=self._url):
            publication = self._publisher.start(policy)
        self._live = policy.version
        return publication

    def attach(self, policy: PolicyRef) -> None:
        self._publisher.attach(policy)
        self._live = policy.version

    def publish(self, policy: PolicyRef, cycle: int) -> Publication:
        reason = f"the decision of cycle {cycle}"
        with self._audit.entry("publish", policy.version, self._live, reason, self._url):
            publication = self._publisher.publish(policy, cycle)
        self._live = policy.version
        return publication

    def stop(self) -> None:
        self._publisher.stop()


class Outcome(Record):
    """A publication as its two audit entries tell it."""

    began: AuditEntry
    # None: it is no publication.
    entry: PublicationEntry | None
    # None: its outcome was not written.
    ended: AuditEntry | None = None


def outcomes(log: Sequence[AuditEntry]) -> list[Outcome]:
    """What a log tells of, in the order in which it began."""
    found: dict[str, Outcome] = {}
    for number, line in enumerate(log):
        entry = entry_of(line)
        if entry is not None and entry.outcome != "intended" and entry.entry in found:
            found[entry.entry] = Outcome(began=found[entry.entry].began, entry=entry, ended=line)
        else:
            found[entry.entry if entry is not None else f"line {number}"] = Outcome(began=line, entry=entry)
    return list(found.values())


def entry_of(line: AuditEntry) -> PublicationEntry | None:
    """The publication an audit entry tells of; None where it tells of something else."""
    try:
        return PublicationEntry.model_validate_json(line.detail)
    except ValidationError:
        return None


def _short(text: str) -> str:
    return cut_middle(text, _LONGEST_TEXT, CUT_MARK)
