"""A disk that is full: one sentence for it, whatever library was writing, and across the boundaries of Ray's actors.

A full disk is no fault of the work that was being done: it must not be taken for one, and the whole run stops.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from actors.errors import SalusError

_NUMBERS = (errno.ENOSPC, errno.EDQUOT)
# Rust's libraries say it in words alone, and Ray hands the text of a remote fault on within its own.
_WORDS = ("No space left on device", "Disk quota exceeded", "database or disk is full")
# All that torch's own writer and SQLite say of any write that failed.
_UNCLEAR_WORDS = ("PytorchStreamWriter failed writing", "unexpected pos ", "disk I/O error")
# Whose errors are read for words; any other may quote a text from outside.
_TELLERS = ("ray", "pyarrow", "safetensors", "sqlite3", "torch")
# With less than this the disk is what they failed on. Bytes.
_NEXT_TO_NOTHING = 2**20


class FullDiskError(SalusError):
    """A disk or a quota is full; neither the process that wrote there nor its work is at fault."""


@contextmanager
def disk_of(folder: Path) -> Iterator[None]:
    """Turn whatever a full disk is called by who writes inside into its sentence.

    Args:
        folder: named by the sentence where an error names no file.

    Raises:
        FullDiskError: a disk or a quota is full.
    """
    try:
        yield
    except Exception as error:  # What fails to write has no type in common.
        fault = full_disk(error, folder)
        if fault is None or isinstance(error, FullDiskError):
            raise
        raise fault from error


def full_disk(error: BaseException, folder: Path | None = None) -> FullDiskError | None:
    """What an error comes to if a full disk is behind it; None where none is, or another sentence says it all."""
    found = list(_causes(error))
    for each in found:
        if isinstance(each, FullDiskError):
            return FullDiskError(each.sentence)
    if any(isinstance(each, SalusError) for each in (error, getattr(error, "cause", None))):
        return None
    why = next((words for each in found if (words := _words(each, folder))), None)
    return _fault(why, _place(found) or folder) if why is not None else None


def _fault(why: str, place: Path | None) -> FullDiskError:
    disk = f"The disk of {place}" if place is not None else "A disk that this command writes to"
    return FullDiskError(
        f"{disk} is full ({why}); free space there, then run the same command again: it goes on where it stopped."
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and all it came from: Ray's cause of a remote one, and what Python chains."""
    waiting: list[object] = [error]
    seen: set[int] = set()
    while waiting:
        each = waiting.pop(0)
        if isinstance(each, BaseException) and id(each) not in seen:
            seen.add(id(each))
            yield each
            waiting += [getattr(each, "cause", None), each.__cause__, each.__context__]


def _words(error: BaseException, folder: Path | None) -> str | None:
    """How this error says that a disk is full; None where it does not."""
    number = error.errno if isinstance(error, OSError) else None
    if number in _NUMBERS:
        return _WORDS[_NUMBERS.index(number)]
    if not isinstance(error, OSError | RuntimeError) and type(error).__module__.partition(".")[0] not in _TELLERS:
        return None
    text = str(error)
    if any(words in text for words in _UNCLEAR_WORDS) and folder is not None and _is_full(folder):
        return _WORDS[0]
    return next((words for words in _WORDS if words in text), None)


def _is_full(folder: Path) -> bool:
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(there).free < _NEXT_TO_NOTHING


def _place(found: Sequence[BaseException]) -> Path | None:
    """The folder of the file that an error names."""
    for each in found:
        if isinstance(each, OSError) and each.errno in _NUMBERS and isinstance(each.filename, str):
            return Path(each.filename).parent
    return None
