"""Which policy is current: an append-only log of promotions and rollbacks, one JSON line each.

The log is the only truth: replayed, a promotion goes one step on and a rollback takes the last one back.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Literal

from pydantic import ConfigDict, Field

from actors.durable import PRIVATE
from actors.errors import SalusError
from actors.os_user import os_user
from actors.private_files import share
from actors.record_files import parse_lines
from actors.records import Record
from pipelines.registry.names import PolicyName

Clock = Callable[[], datetime]


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


class History:
    """The log at `path`; a change is made under a lock, so that two at once follow each other."""

    def __init__(self, path: Path, clock: Clock = lambda: datetime.now(UTC)) -> None:
        self._path = path
        self._clock = clock

    def changes(self) -> tuple[Change, ...]:
        """Every change, oldest first.

        Raises:
            SalusError: a line is not one.
        """
        return self._read(self._path.read_text(encoding="utf-8")) if self._path.is_file() else ()

    def current(self) -> str | None:
        """The current version; None before the first promotion."""
        versions = self.versions()
        return versions[-1] if versions else None

    def versions(self) -> tuple[str, ...]:
        """Those a rollback goes back through, the current one last. Raises as `changes` does."""
        return tuple(self._stack(self.changes()))

    def append(
        self, action: Literal["promote", "rollback"], choose: Callable[[Sequence[str]], str], why: str
    ) -> Change:
        """Write the change to the version `choose` names, given the replayed versions; it may refuse.

        Raises:
            SalusError: the reason holds control characters, the log is damaged, or as `choose` does.
        """
        if not why.isprintable():
            raise SalusError("The reason holds a line break or another control character; give one plain line.")
        with self._opened() as log:
            share(self._path, self._path.parent)
            fcntl.flock(log, fcntl.LOCK_EX)
            log.seek(0)
            versions = self._stack(self._read(log.read()))
            change = Change(
                action=action,
                time=self._clock().isoformat(timespec="seconds"),
                previous=versions[-1] if versions else None,
                version=choose(versions),
                who=os_user(),
                why=why,
            )
            _write(log, change.model_dump_json(by_alias=True))
        return change

    def _opened(self) -> IO[str]:
        try:
            return open(self._path, "a+", encoding="utf-8", opener=_private)
        except OSError as error:
            raise SalusError(
                f"{self._path} cannot be written ({error.strerror or error}); ask whoever owns the registry."
            ) from error

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

    def _read(self, text: str) -> tuple[Change, ...]:
        what = "a change of the current policy"
        return tuple(parse_lines(Change, text, self._path, what, "mend or remove that line"))


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, PRIVATE)


def _write(log: IO[str], line: str) -> None:
    log.write(line + "\n")
    log.flush()
    os.fsync(log.fileno())
