"""API keys: hashed wherever they lie, and compared without telling by time how close a guess was."""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import AwareDatetime, Field, ValidationError

from actors.contract.records import Record
from actors.errors import SalusError
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

    A plain SHA-256 is the right hash here: a key is 32 random bytes, so nobody finds it by trying likely ones, which
    is all that salts and slow hashes are against; and a slow hash would be paid again with every request.
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

    While serving, a bad line is logged and passed over: the good ones go on being taken, and a key that was removed
    is refused whatever else is wrong with the file. A file that is gone lets nobody in.
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
        """Whose key it is; None where it is nobody's.

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
