"""The key file: keys added, listed and revoked, by one process at a time and durably."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path

from actors.errors import SalusError
from actors.files.atomic import PRIVATE, WRITABLE_BY_OTHERS, locked, make_folder, write_atomically
from actors.files.records import reason
from actors.serve.gateway.keys import ApiKey, Role, new_key, now, parse_keys, read_keys


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
    # Hashes may be read by anybody; whoever may write them lets himself in.
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
