"""What Ray's workers print: their files while a session lives, and the copy that is kept of them.

Ray writes two files for each worker process, `worker-ID-JOB-PID.out` and `.err`. Lines of the form `:actor_name:NAME`
in them say which actor, or which task, printed what follows.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from actors.files.atomic import make_folder, write_atomically

# Bytes of one kept file, of which the end is worth more than the beginning; of all of them; sessions of a run.
MOST_OF_FILE = 2 * 2**20
HEAD = 256 * 2**10
MOST_IN_ALL = 64 * 2**20
SESSIONS = 3
UNNAMED = "worker"
_FILE = re.compile(r"worker-[0-9a-f]+-(?P<job>[0-9a-f]+)-(?P<pid>\d+)\.(?:out|err)")
_MARK = re.compile(rb":(?P<kind>actor_name|task_name|job_id):(?P<name>.*)")


class LogLine(NamedTuple):
    """One line that a worker printed, and the actor or task that printed it."""

    actor: str
    pid: int
    text: str


class WorkerLog:
    """One file, read on from where it was read to."""

    def __init__(self, path: Path) -> None:
        found = _FILE.fullmatch(path.name)
        assert found is not None
        self._path = path
        self._pid = int(found["pid"])
        self._actor = UNNAMED
        # Bytes of lines that were read; one without an end yet is none.
        self._at = 0

    def lines(self, last: bool = False) -> Iterator[LogLine]:
        """The lines that were added, blank ones left out; with `last`, also one without an end.

        A file that is gone has none.
        """
        try:
            with self._path.open("rb") as file:
                file.seek(self._at)
                added = file.read()
        except FileNotFoundError:
            return
        for line in added.splitlines(keepends=True):
            if not line.endswith(b"\n") and not last:
                return
            self._at += len(line)
            mark = _MARK.fullmatch(line.strip())
            if mark is None:
                if text := line.decode("utf-8", errors="replace").rstrip():
                    yield LogLine(self._actor, self._pid, text)
            elif mark["kind"] != b"job_id":
                self._actor = mark["name"].decode("utf-8", errors="replace") or UNNAMED


class WorkerLogs:
    """All files of a folder, of one Ray job or (None) of all."""

    def __init__(self, folder: Path, job: str | None = None) -> None:
        self._folder = folder
        self._job = job
        self._known: dict[Path, WorkerLog] = {}

    def lines(self, last: bool = False) -> Iterator[LogLine]:
        """What was added since the last call, file by file."""
        for path in log_files(self._folder, self._job):
            yield from self._known.setdefault(path, WorkerLog(path)).lines(last)


def log_files(folder: Path, job: str | None = None) -> list[Path]:
    """The workers' files in a folder, by their names; those of one job, where it is given."""
    found = [(path, _FILE.fullmatch(path.name)) for path in folder.glob("worker-*")]
    return sorted(path for path, match in found if match is not None and job in (None, match["job"]))


def keep_logs(source: Path, job: str | None, target: Path) -> None:
    """Copy workers' files into a new folder below `target`, named by its number; the newest `SESSIONS` stay.

    A long file loses its middle, and the files that changed last are copied first, up to `MOST_IN_ALL` bytes. Empty
    files are left out. OSError passes through.
    """
    files = [(path, path.stat()) for path in log_files(source, job)]
    files = [(path, stat) for path, stat in files if stat.st_size]
    if not files:
        return
    former = kept_sessions(target)
    made = target / str(int(former[-1].name) + 1 if former else 1)
    make_folder(made)
    left = MOST_IN_ALL
    for path, _ in sorted(files, key=lambda each: each[1].st_mtime_ns, reverse=True):
        content = _shortened(path)
        if len(content) > left:
            break
        left -= len(content)
        write_atomically(made / path.name, content)
    for old in former[: max(0, len(former) + 1 - SESSIONS)]:
        shutil.rmtree(old, ignore_errors=True)


def kept_sessions(target: Path) -> list[Path]:
    """The folders of kept logs, the oldest first."""
    found = [path for path in target.glob("*") if path.is_dir() and path.name.isdecimal()]
    return sorted(found, key=lambda path: int(path.name))


def _shortened(path: Path) -> bytes:
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size <= MOST_OF_FILE:
            return file.read()
        head = file.read(HEAD)
        tail = MOST_OF_FILE - HEAD
        file.seek(size - tail)
        return b"%s\n[%d bytes are left out here]\n%s" % (head, size - HEAD - tail, file.read(tail))
