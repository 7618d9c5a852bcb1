"""API keys: how they are made, kept as hashes in a file and a variable, and recognised."""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import secrets
import stat
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import AwareDatetime, Field, ValidationError

from actors.contract.records import Record
from actors.errors import SalusError
from actors.files.atomic import PRIVATE, WRITABLE_BY_OTHERS, locked, make_folder, write_atomically
from actors.files.records import reason

logger = logging.getLogger(__name__)

Role = Literal["client", "reviewer", "admin"]
# Each may do what those before it may.
ROLES: tuple[Role, ...] = ("client", "reviewer", "admin")
PREFIX = "salus_"
SECRET_BYTES = 32
NAME = r"^[A-Za-z0-9_.-]{1,64}$"
# How long a revoked key may still be taken.
LOOK_EVERY_S = 1.0
_KEY_ITSELF = re.compile(PREFIX + r"[A-Za-z0-9_-]{43}")


class Caller(NamedTuple):
    """Who asks: the name of the key, and what it may do."""

    name: str
    role: Role


class ApiKey(Record):
    """A key as it is kept: whose it is, what it may do, and the SHA-256 of it.

    A plain SHA-256 is the right hash here. A key is 32 random bytes, so trying likely ones does not find it; salts and
    slow hashes are against nothing else. A slow hash would also be paid again with every request.
    """

    name: str = Field(pattern=NAME, description="Whose key it is; unique, and what logs and feedback name.")
    role: Role
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="Of the key, in hexadecimal.")
    created_at: AwareDatetime

    @property
    def digest(self) -> bytes:
        return bytes.fromhex(self.sha256)


class ParsedKeys(NamedTuple):
    """The good lines of a key file, and a sentence for each bad one."""

    keys: tuple[ApiKey, ...]
    faults: tuple[str, ...]


def now() -> datetime:
    """The present time, in UTC and whole seconds."""
    return datetime.now(UTC).replace(microsecond=0)


def new_key(name: str, role: Role, clock: Callable[[], datetime] = now) -> tuple[str, ApiKey]:
    """A fresh key, to be shown once, and what is kept of it.

    Raises:
        SalusError: the name is none a key can have.
    """
    token = PREFIX + secrets.token_urlsafe(SECRET_BYTES)
    try:
        return token, ApiKey(name=name, role=role, sha256=digest_of(token).hex(), created_at=clock())
    except ValidationError as error:
        raise SalusError(
            f"{name!r} cannot be the name of a key; use up to 64 of A-Z, a-z, 0-9, dot, hyphen and underscore."
        ) from error


def digest_of(token: str) -> bytes:
    """The SHA-256 of a key; of any text that is none as well."""
    return hashlib.sha256(token.encode("utf-8", "backslashreplace")).digest()


def parse_keys(text: str, where: str) -> ParsedKeys:
    """The keys of JSON lines; blank lines and those that begin with # say nothing.

    Args:
        where: the file or variable they come from, for the sentences.
    """
    keys: dict[str, ApiKey] = {}
    faults: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            key = ApiKey.model_validate_json(line)
        except ValidationError as error:
            faults.append(_fault(f"{where}:{number}", line, error))
            continue
        if key.name in keys:
            faults.append(f"{where}:{number} is a second key named {key.name}; revoke one of them.")
        else:
            keys[key.name] = key
    return ParsedKeys(tuple(keys.values()), tuple(faults))


def read_keys(path: Path) -> ParsedKeys:
    """The keys of a file; one that cannot be read holds none, and that is its fault."""
    try:
        return parse_keys(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        return ParsedKeys((), (f"The key file {path} cannot be read ({reason(error)}).",))


class KeyRing:
    """Every key that is taken: fixed ones, and those of a file, which is read again when it changes.

    While serving, a bad line is logged and passed over, and the good ones go on being taken. A key that was removed is
    refused whatever else is wrong with the file. A file that is gone lets no one in.
    """

    def __init__(
        self, file: Path | None = None, fixed: Iterable[ApiKey] = (), clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._file = file
        self._fixed = tuple(fixed)
        self._clock = clock
        self._look_at = float("-inf")
        self._mark: tuple[int, ...] | None = (-1,)
        self._known: tuple[tuple[bytes, Caller], ...] = _known(self._fixed)

    def identify(self, token: str) -> Caller | None:
        """Whose key it is; None where it is no one's.

        Every key is compared, and each in constant time: how long it takes tells neither which key nor how much of
        one was right.
        """
        self._look()
        digest = digest_of(token)
        found: Caller | None = None
        for kept, caller in self._known:
            if hmac.compare_digest(kept, digest):
                found = caller
        return found

    def _look(self) -> None:
        """Read the file again where it has changed; asked for with every request, so it looks only now and then."""
        now_s = self._clock()
        if self._file is None or now_s < self._look_at:
            return
        self._look_at = now_s + LOOK_EVERY_S
        mark = _mark(self._file)
        if mark == self._mark:
            return
        self._mark = mark
        keys, faults = read_keys(self._file)
        self._known = _known((*self._fixed, *keys))
        for fault in faults:
            logger.error("%s", fault)


def _known(keys: Sequence[ApiKey]) -> tuple[tuple[bytes, Caller], ...]:
    return tuple((key.digest, Caller(key.name, key.role)) for key in keys)


def _mark(path: Path) -> tuple[int, ...] | None:
    """What changes with a file: its time, its size, or, where it was replaced, the file itself."""
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_size, found.st_ino)


def _fault(where: str, line: str, error: ValidationError) -> str:
    # The line itself is never shown: it may hold a key.
    if _KEY_ITSELF.search(line):
        return f"{where} holds a key itself, not its hash; revoke that key and make another: salus key add NAME."
    return f"{where} is not a key ({reason(error)}); mend or remove that line."


def strict_keys(path: Path) -> tuple[ApiKey, ...]:
    """The keys of a file in which nothing is wrong.

    Raises:
        SalusError: it is missing, cannot be read, others may write it, or a line is no key; names the line.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError as error:
        raise SalusError(f"There is no key file {path}; make a key: salus key add NAME --keys {path}.") from error
    except OSError as error:
        raise SalusError(f"The key file {path} cannot be read ({reason(error)}); mend its path or rights.") from error
    keys, faults = read_keys(path)
    if faults:
        raise SalusError(faults[0])
    # Hashes may be read by anyone; an account that may write them can let itself in.
    if mode & WRITABLE_BY_OTHERS:
        raise SalusError(f"Others than its owner may write the key file {path}; take that away: chmod go-w {path}.")
    return keys


class KeyFile:
    """The keys in one file, JSON lines of `ApiKey`. Life of a key: add -> revoke."""

    def __init__(self, path: Path, clock: Callable[[], datetime] = now) -> None:
        self._path = path.expanduser().absolute()
        self._clock = clock

    def entries(self) -> tuple[ApiKey, ...]:
        """Every key, oldest first. Raises SalusError as `strict_keys` does."""
        return strict_keys(self._path)

    def add(self, name: str, role: Role) -> str:
        """Make a key, write down its hash, and return it: it cannot be had again.

        Raises:
            SalusError: no name for a key, or one that is taken; a damaged file; or one that cannot be written.
        """
        token, key = new_key(name, role, self._clock)
        try:
            make_folder(self._path.parent)
            with locked(self._path):
                known = self._path.exists()
                if known and any(other.name == name for other in self.entries()):
                    raise SalusError(f"{self._path} has a key named {name} already; revoke it, or choose another name.")
                self._write([*(self._lines() if known else []), key.model_dump_json()])
        except OSError as error:
            raise self._unwritable(error) from error
        return token

    def revoke(self, name: str) -> ApiKey:
        """Take a key out of the file, leaving every other line as it is; returns it.

        Raises:
            SalusError: there is no such key, the file is damaged, or it cannot be written.
        """
        # Before the lock: its file would be made beside one that is not there.
        self.entries()
        try:
            with locked(self._path):
                return self._take_out(name)
        except OSError as error:
            raise self._unwritable(error) from error

    def _take_out(self, name: str) -> ApiKey:
        found = [key for key in self.entries() if key.name == name]
        if not found:
            raise SalusError(f"{self._path} has no key named {name!r}; see salus key list.")
        self._write(line for line in self._lines() if name not in (key.name for key in parse_keys(line, "").keys))
        return found[0]

    def _lines(self) -> list[str]:
        return self._path.read_text(encoding="utf-8").splitlines()

    def _write(self, lines: Iterable[str]) -> None:
        """Replace the file; it keeps its mode, but others lose the right to write."""
        mode = stat.S_IMODE(self._path.stat().st_mode) & ~WRITABLE_BY_OTHERS if self._path.exists() else PRIVATE
        write_atomically(self._path, "".join(f"{line}\n" for line in lines).encode(), mode)

    def _unwritable(self, error: OSError) -> SalusError:
        return SalusError(f"The key file {self._path} cannot be written ({reason(error)}); give another with --keys.")
