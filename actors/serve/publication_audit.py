"""Publications and rollbacks in an audit log: written down before they are done, and again with what came of them.

Without the first entry nothing is done. The second cannot undo anything any more: where it cannot be written, what was
done stands, a warning says so, and the log shows an intention without an outcome, as it does where the process died.
"""

from __future__ import annotations

import logging
import os
import pwd
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from pydantic import ValidationError

from actors.contract.publication import Publication
from actors.contract.records import PolicyRef, Record
from actors.contract.untrusted import cut_middle
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


# "promote": of a registry, which serves nothing by itself; with an endpoint, "rollback" follows a registry's.
Action = Literal["start", "publish", "promote", "rollback"]
_LONGEST_TEXT = 800

logger = logging.getLogger(__name__)


class Deed(Record):
    """One publication; the detail of its audit entries, as JSON."""

    # The same before and after.
    deed: str
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


class OpenDeed:
    """A deed under way. Life: begin -> done | refused; the first outcome counts, and is written once."""

    def __init__(self, log: AuditLog, who: str, action: Action, intended: Deed) -> None:
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
        deed = self._intended.model_copy(update=outcome)
        try:
            self._append(deed)
        except SalusError as error:
            logger.warning(
                "The outcome of %s %s (%s) was not audited: %s", self._action, deed.version, deed.outcome, error
            )

    def _append(self, deed: Deed) -> None:
        self._log.append(self._who, self._action, deed.model_dump_json(exclude_none=True))


class PublicationAudit:
    """Writes deeds into one log, under the name of the operating system's user unless told otherwise."""

    def __init__(self, log: AuditLog, who: Callable[[], str] = os_user) -> None:
        self._log = log
        self._who = who

    @contextmanager
    def deed(
        self,
        action: Action,
        version: str | None,
        previous: str | None = None,
        reason: str = "",
        endpoint: str | None = None,
    ) -> Iterator[OpenDeed]:
        """What is done inside is written down; where `OpenDeed.done` was not called, as it was intended.

        Raises:
            SalusError: the intention cannot be written, and nothing was done; or as what is done inside.
        """
        intended = Deed(
            deed=uuid.uuid4().hex[:12], version=version, previous=previous, reason=_short(reason), endpoint=endpoint
        )
        deed = OpenDeed(self._log, self._who(), action, intended)
        deed.begin()
        try:
            yield deed
        except SalusError as error:
            deed.refused(error.sentence)
            raise
        deed.done(version, previous)


class AuditedPublisher:
    """A run's publisher whose publications are audited."""

    def __init__(self, publisher: PolicyPublisher, audit: PublicationAudit, url: str) -> None:
        self._publisher = publisher
        self._audit = audit
        self._url = url
        self._live: str | None = None

    def start(self, policy: PolicyRef) -> Publication:
        with self._audit.deed("start", policy.version, reason="the run's endpoint", endpoint=self._url):
            publication = self._publisher.start(policy)
        self._live = policy.version
        return publication

    def attach(self, policy: PolicyRef) -> None:
        self._publisher.attach(policy)
        self._live = policy.version

    def publish(self, policy: PolicyRef, cycle: int) -> Publication:
        reason = f"the decision of cycle {cycle}"
        with self._audit.deed("publish", policy.version, self._live, reason, self._url):
            publication = self._publisher.publish(policy, cycle)
        self._live = policy.version
        return publication

    def stop(self) -> None:
        self._publisher.stop()


class Told(Record):
    """A deed as its two entries tell it; what is no publication has none."""

    began: AuditEntry
    deed: Deed | None
    # None: nobody wrote what came of it.
    ended: AuditEntry | None = None


def told(entries: Sequence[AuditEntry]) -> list[Told]:
    """The deeds of a log, in the order they were begun in."""
    found: dict[str, Told] = {}
    for number, entry in enumerate(entries):
        deed = deed_of(entry)
        if deed is not None and deed.outcome != "intended" and deed.deed in found:
            found[deed.deed] = Told(began=found[deed.deed].began, deed=deed, ended=entry)
        else:
            found[deed.deed if deed is not None else f"entry {number}"] = Told(began=entry, deed=deed)
    return list(found.values())


def deed_of(entry: AuditEntry) -> Deed | None:
    """The publication an entry tells of; None where it tells of something else."""
    try:
        return Deed.model_validate_json(entry.detail)
    except ValidationError:
        return None


def _short(text: str) -> str:
    return cut_middle(text, _LONGEST_TEXT, " [...] ")
