"""The audit log: who did what to the endpoint, one JSON line each, chained so that a line taken out shows.

Each entry holds the SHA-256 of the one before it. That shows a line that was changed, removed or put in. It does not
show that the end was cut off, nor a log written anew from some line on. To tell those too, keep the hash of the last
entry somewhere else (`append` and `verify` return it). A half line that a crash left at the end was never
acknowledged: readers pass over it, and the next append cuts it off.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from pydantic import AwareDatetime, Field, ValidationError

from actors.contract.records import Record
from actors.errors import SalusError
from actors.files.atomic import Log, appending, log_lines
from actors.files.records import reason

# What the first line names as the one before it.
BEGINNING = "0" * 64
_LONGEST_DETAIL = 4000
# Longer than any entry and what crashes leave behind it: every character of a detail may be escaped.
_TAIL_BYTES = 256 * 1024


class AuditEntry(Record):
    """One entry. `previous`: the SHA-256 of the entry before it and of the half lines that follow that one.

    Earlier versions ended a half line that a crash had left, and went on behind it.
    """

    time: AwareDatetime
    who: str = Field(min_length=1, max_length=200, description="The name of a key, or of an operating system's user.")
    action: str = Field(pattern=r"^[a-z][a-z_]{0,63}$", description="As publish, rollback.")
    detail: str = Field(max_length=_LONGEST_DETAIL)
    previous: str = Field(pattern=r"^[0-9a-f]{64}$")


class AuditState(NamedTuple):
    """What a whole chain amounts to: its entries, the half lines between them, the hash of its last line."""

    entries: int
    torn: int
    head: str


class AuditLog:
    """The log at `path`; several processes may append, one after the other."""

    def __init__(self, path: Path, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._path = path
        self._clock = clock

    def append(self, who: str, action: str, detail: str = "") -> str:
        """Write down what was done, on disk before this returns; the hash of its line.

        Raises:
            SalusError: it is no entry (too long, or an action with odd characters), or the log cannot be written.
        """
        try:
            with appending(self._path) as log:
                entry = AuditEntry(
                    time=self._clock(), who=who, action=action, detail=detail, previous=_hash(_last_link(log))
                )
                line = entry.model_dump_json().encode()
                log.append(line)
        except ValidationError as error:
            raise SalusError(
                f"The audit log does not take this entry ({reason(error)}); shorten or mend it."
            ) from error
        except OSError as error:
            raise SalusError(
                f"The audit log {self._path} cannot be written ({reason(error)}); free its place."
            ) from error
        return _hash(line)

    def readable(self) -> tuple[tuple[AuditEntry, ...], SalusError | None]:
        """Every entry up to the first line that does not follow from the lines before it, and what is wrong there."""
        found: list[AuditEntry] = []
        try:
            for entry, _ in self._chain():
                found += [entry] if entry is not None else []
        except SalusError as error:
            return tuple(found), error
        return tuple(found), None

    def verify(self, head: str | None = None) -> AuditState:
        """Follow the chain from its first line to its last.

        Args:
            head: the hash of a line that must be in it, as kept from an earlier `append` or `verify`.

        Raises:
            SalusError: a line does not follow from the one before it, names the line; or `head` is not in it.
        """
        heads = [BEGINNING]
        entries = torn = 0
        for entry, link in self._chain():
            heads.append(_hash(link))
            entries, torn = (entries, torn + 1) if entry is None else (entries + 1, torn)
        if head is not None and head not in heads:
            raise SalusError(f"{self._path} no longer holds the line {head[:12]}; its end was cut off or written anew.")
        return AuditState(entries, torn, heads[-1])

    def _chain(self) -> Iterator[tuple[AuditEntry | None, bytes]]:
        """Each line's entry, None for half a line, and what the next entry must hold the hash of."""
        try:
            text = self._path.read_bytes() if self._path.exists() else b""
        except OSError as error:
            raise SalusError(f"The audit log {self._path} cannot be read ({reason(error)}).") from error
        link: bytes | None = None
        for number, line in enumerate(log_lines(text), start=1):
            entry = _entry(line)
            if entry is not None and entry.previous != _hash(link):
                raise SalusError(
                    f"{self._path}:{number} does not follow from the lines before it: lines were changed, removed or"
                    " put in; compare it with a copy."
                )
            link = _linked(link, line, entry)
            yield entry, link


def _last_link(log: Log) -> bytes | None:
    """What the next entry must hold the hash of; None where it is the first."""
    link: bytes | None = None
    for line in log_lines(log.read(max(0, log.size - _TAIL_BYTES))):
        link = _linked(link, line, _entry(line))
    return link


def _linked(link: bytes | None, line: bytes, entry: AuditEntry | None) -> bytes:
    """An entry begins a new link; half a line is added to the one before."""
    return line if entry is not None or link is None else link + b"\n" + line


def _hash(link: bytes | None) -> str:
    return BEGINNING if link is None else hashlib.sha256(link).hexdigest()


def _entry(line: bytes) -> AuditEntry | None:
    try:
        return AuditEntry.model_validate_json(line)
    except ValidationError:
        return None
