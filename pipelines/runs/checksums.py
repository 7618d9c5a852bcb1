"""SHA-256 sums of a finished run's files, as coreutils writes them: `sha256sum -c SHA256SUMS` needs no Salus.

The sum of that one file names the run's whole content: a report that quotes it can be held against the folder.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Set

from actors.contract.records import Record
from actors.contract.run_folder import RunFolder
from actors.errors import SalusError
from actors.files.shards import write_text
from actors.files.sums import file_sum

_LINE = re.compile(r"(?P<sum>[0-9a-f]{64})  (?P<name>.+)")


class Checked(Record):
    """A run folder held against its sums: names of files relative to its root, in order."""

    # SHA-256 of SHA256SUMS itself.
    run_hash: str
    files: int
    changed: tuple[str, ...]
    missing: tuple[str, ...]
    # Files there were none of when the sums were written.
    added: tuple[str, ...]
    # Files that may be missing, and are.
    removed: tuple[str, ...] = ()

    @property
    def intact(self) -> bool:
        return not (self.changed or self.missing or self.added)


def file_sums(folder: RunFolder) -> dict[str, str]:
    """SHA-256 of every file the sums name, by its name relative to the root, in order."""
    return {name: file_sum(folder.root / name) for name in file_names(folder)}


def write_sums(folder: RunFolder, known: Mapping[str, str] | None = None) -> str:
    """Write the sums of all files of a run; returns the run's hash.

    `known`: sums taken a moment ago, of files that are not read again.

    Raises:
        SalusError: a file's name would not fit on one line.
    """
    lines, known = [], known or {}
    for name in file_names(folder):
        if "\n" in name or "\\" in name:
            raise SalusError(f"{name!r} in {folder.root} has a line break or backslash in its name; rename it.")
        lines.append(f"{known.get(name) or file_sum(folder.root / name)}  {name}\n")
    write_text("".join(lines), folder.sums)
    return file_sum(folder.sums)


def run_hash(folder: RunFolder) -> str | None:
    """SHA-256 of the run's sums; None where its last cycle was never done."""
    return file_sum(folder.sums) if folder.sums.is_file() else None


def check_sums(
    folder: RunFolder, may_miss: Set[str] = frozenset(), sum_of: Callable[[str], str] | None = None
) -> Checked:
    """Hold a run's files against its sums; those in `may_miss` are no fault where they are missing.

    `sum_of`: the sum of a file by its name, where that is not the one of the folder's file.

    Raises:
        SalusError: the run has none yet, or they are not in the form of `sha256sum`.
    """
    known = read_sums(folder)
    sum_of = sum_of or (lambda name: file_sum(folder.root / name))
    there = list(file_names(folder))
    gone = known.keys() - set(there)
    return Checked(
        run_hash=file_sum(folder.sums),
        files=len(known),
        changed=tuple(n for n in there if n in known and sum_of(n) != known[n]),
        missing=tuple(sorted(gone - may_miss)),
        added=tuple(n for n in there if n not in known),
        removed=tuple(sorted(gone & may_miss)),
    )


def read_sums(folder: RunFolder) -> dict[str, str]:
    """The sums a run wrote when it ended, by name, in order.

    Raises:
        SalusError: it has none yet, or they are not in the form of `sha256sum`.
    """
    if not folder.sums.is_file():
        raise SalusError(f"{folder.root} holds no {folder.sums.name}; a run writes it when its last cycle is done.")
    known = {}
    for number, line in enumerate(folder.sums.read_text(encoding="utf-8").splitlines(), start=1):
        found = _LINE.fullmatch(line)
        if found is None:
            raise SalusError(f"{folder.sums}, line {number} is not a sum and a name; it was changed by hand.")
        known[found["name"]] = found["sum"]
    return known


def file_names(folder: RunFolder) -> Iterator[str]:
    """Files of the run, in order; Ray Train's own state, workers' logs and files still being written are none of them.

    Nor are the sums themselves, and what is written of a run after its end.
    """
    left_out = {folder.train_storage, folder.worker_logs}
    for path in sorted(folder.root.rglob("*")):
        name = path.relative_to(folder.root)
        hidden = any(part.startswith(".") for part in name.parts)
        if path.is_file() and not hidden and path not in folder.unsummed and not left_out & set(path.parents):
            yield name.as_posix()
