"""The leases of a folder on disk: numbered files, of which the highest number holds.

A lease is taken by creating the next number, which only one process can (O_EXCL, on network file systems too). A
single file would be replaced by each process that finds it stale. Of two such processes the slower one would replace
the lease of the quicker one. A holder that wakes up would write over its successor's.

Here each file is written by its own holder alone. The highest number is never removed, so that numbers only grow. A
process that was stopped between looking and creating finds a higher number than its own, and has lost.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path

from pydantic import AwareDatetime

from actors.contract.records import Record
from actors.files.atomic import TEMPORARY, create
from actors.files.shards import write_text
from pipelines.runs.lease.process import Holder

# Hidden: neither a run's sums nor what looks for a run's files sees it.
FOLDER = ".lease"
# Also the temporary names of `actors.files.atomic`.
_NAME = re.compile(r"\.?(?P<number>\d+)\.json(?P<temporary>\..+)?")
_READ_TRIES = 4
_READ_WAIT_S = 0.1


class LeaseRecord(Record):
    """What a lease's file says."""

    number: int
    # None: the file cannot be read; its times are those of the file.
    holder: Holder | None
    taken_at: AwareDatetime
    beat_at: AwareDatetime
    # The file stays, because the highest number must.
    given_back: bool = False


class LeaseFiles:
    """`.lease/N.json` below a folder. OSError passes through."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self._folder = self.root / FOLDER

    def last(self) -> LeaseRecord | None:
        """The lease with the highest number; None where the folder was never held."""
        for number in sorted(self._numbers(), reverse=True):
            record = self.read(number)
            # None: its process found that it had lost, and removed it meanwhile.
            if record is not None:
                return record
        return None

    def read(self, number: int) -> LeaseRecord | None:
        """One lease; None where there is no such file."""
        path = self._path(number)
        for _ in range(_READ_TRIES):
            try:
                record = LeaseRecord.model_validate_json(path.read_text(encoding="utf-8"))
                # The name counts: it is what only one process could create.
                return record.model_copy(update={"number": number})
            except FileNotFoundError:
                return None
            except ValueError:
                # Just created, and not written yet.
                time.sleep(_READ_WAIT_S)
        try:
            changed = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        except FileNotFoundError:
            return None
        return LeaseRecord(number=number, holder=None, taken_at=changed, beat_at=changed)

    def add(self, record: LeaseRecord) -> bool:
        """Create a lease's file and remove those before it; False where another process was quicker."""
        path = self._path(record.number)
        if not create(path, record.model_dump_json(indent=2).encode()):
            return False
        if max(self._numbers(), default=0) != record.number:
            path.unlink(missing_ok=True)
            return False
        self._remove_before(record.number)
        return True

    def write(self, record: LeaseRecord) -> None:
        """Write a lease anew; for its holder alone."""
        write_text(record.model_dump_json(indent=2), self._path(record.number))

    def _path(self, number: int) -> Path:
        return self._folder / f"{number}.json"

    def _numbers(self) -> list[int]:
        return [number for number, path in self._files() if path.suffix == ".json"]

    def _remove_before(self, number: int) -> None:
        for earlier, path in self._files():
            if earlier < number:
                # One that stays does no harm.
                with contextlib.suppress(OSError):
                    path.unlink()

    def _files(self) -> list[tuple[int, Path]]:
        """Files of leases and what a killed process left of one it was writing, with their numbers."""
        with contextlib.suppress(FileNotFoundError):
            matches = [(_NAME.fullmatch(path.name), path) for path in self._folder.iterdir()]
            return [(int(match["number"]), path) for match, path in matches if match is not None]
        return []


def is_empty(root: Path) -> bool:
    """Whether there is nothing in a folder but its leases and what a crash left half-written, or no such folder."""
    return not root.is_dir() or all(path.name == FOLDER or TEMPORARY.fullmatch(path.name) for path in root.iterdir())


def clear(root: Path) -> None:
    """Remove all there is in a folder but its leases; for their holder alone."""
    for path in root.iterdir():
        if path.name == FOLDER:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
