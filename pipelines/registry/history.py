"""Which policy is current: an append-only log of promotions and rollbacks, one JSON line each.

The log is the only truth: replayed, a promotion goes one step on and a rollback takes the last one back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, Field

from actors.contract.records import Record
from actors.errors import SalusError
from actors.files.atomic import Log, appending
from actors.files.records import parse_lines, read_lines, reason
from actors.serve.publication_audit import os_user
from pipelines.registry.names import PolicyName

Clock = Callable[[], datetime]
_CHANGE = "a change of the current policy"
_CURE = "mend or remove that line"


class Change(Record):
    """One change of the current policy."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    action: Literal["promote", "rollback"]
    # ISO 8601, UTC.
    time: str
    # The version that was current before; None where there was none.
    previous: PolicyName | None = Field(alias="from")
    version: PolicyName = Field(alias="to")
    # The user of the operating system.
    who: str
    why: str
    # The person who approved the version by this promotion; None where none was asked.
    approved_by: str | None = None


class OpenHistory:
    """A history under its lock, as it is when that was taken; made by `History.changing`, and good for one change."""

    def __init__(
        self, log: Log, path: Path, versions: Sequence[str], clock: Clock, approved: Mapping[str, Change]
    ) -> None:
        self._log = log
        self._path = path
        self._clock = clock
        # By version, who approved it.
        self.approved = approved
        # None before the first promotion.
        self.current: str | None = versions[-1] if versions else None
        # What a rollback goes back to; None where there is nothing.
        self.former: str | None = versions[-2] if len(versions) > 1 else None

    def append(
        self, action: Literal["promote", "rollback"], version: str, why: str, approved_by: str | None = None
    ) -> Change:
        """Make `version` the current one; on disk when this returns.

        Raises:
            SalusError: the reason or the name holds control characters, or the log cannot be written.
        """
        for what, text in (("reason", why), ("name", approved_by or "")):
            if not text.isprintable():
                raise SalusError(f"The {what} holds a line break or another control character; give one plain line.")
        change = Change(
            action=action,
            time=self._clock().isoformat(timespec="seconds"),
            previous=self.current,
            version=version,
            who=os_user(),
            why=why,
            approved_by=approved_by,
        )
        # Lines of a registry without approvals are as they ever were, so that earlier versions read them.
        apart = {"approved_by"} if approved_by is None else None
        try:
            self._log.append(change.model_dump_json(by_alias=True, exclude=apart).encode())
        except OSError as error:
            raise _unwritable(self._path, error) from error
        return change


class History:
    """The log at `path`. What belongs to a change is done under the lock too, so that two at once follow each other."""

    def __init__(self, path: Path, clock: Clock = lambda: datetime.now(UTC)) -> None:
        self._path = path
        self._clock = clock

    def changes(self) -> tuple[Change, ...]:
        """Every change, oldest first.

        Raises:
            SalusError: a line is not one.
        """
        return tuple(read_lines(Change, self._path, _CHANGE, _CURE))

    def approvals(self) -> dict[str, Change]:
        """By version, the promotion with which a person approved it. Raises as `changes` does."""
        return _approvals(self.changes())

    def current(self) -> str | None:
        """The current version; None before the first promotion. Raises as `changes` does."""
        versions = self._stack(self.changes())
        return versions[-1] if versions else None

    @contextmanager
    def changing(self) -> Iterator[OpenHistory]:
        """The history, held until the change and what is written of it are done.

        Raises:
            SalusError: the log is damaged, or cannot be written.
        """
        with ExitStack() as held:
            try:
                log = held.enter_context(appending(self._path))
            except OSError as error:
                raise _unwritable(self._path, error) from error
            changes = parse_lines(Change, log.read(), self._path, _CHANGE, _CURE)
            yield OpenHistory(log, self._path, self._stack(changes), self._clock, _approvals(changes))

    def _stack(self, changes: Sequence[Change]) -> list[str]:
        """The versions a rollback goes back through, the current one last."""
        versions: list[str] = []
        for number, change in enumerate(changes, start=1):
            known = versions[-1] if versions else None
            if change.action == "promote":
                versions.append(change.version)
            elif versions:
                versions.pop()
            if change.previous != known or versions[-1:] != [change.version]:
                raise SalusError(
                    f"{self._path}, line {number} does not follow from the lines before it (from"
                    f" {change.previous}, though {known} was current); take the file from a copy."
                )
        return versions


def _approvals(changes: Sequence[Change]) -> dict[str, Change]:
    return {change.version: change for change in changes if change.approved_by is not None}


def _unwritable(path: Path, error: OSError) -> SalusError:
    return SalusError(f"{path} cannot be written ({reason(error)}); ask the owner of the registry.")
