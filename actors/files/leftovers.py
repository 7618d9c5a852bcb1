"""Ends the processes that a Salus which has ended left behind, and removes their folder.

A process belongs to a session if its environment says so. Every process that Ray starts inherits the variable
`SALUS_SESSION`, which holds the session's private folder. A process that writes to a file in that folder belongs to
the session too. A name or a port says nothing about whose a process is.

As a program, this file waits until the process that started it is gone, even by SIGKILL, and does the same then. It
imports the standard library alone, so that it is small.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from pathlib import Path

MARKER = "SALUS_SESSION"
# Long enough for Ray's workers to find that their Ray is gone.
GRACE_S = 3.0
_POLL_S = 0.05
_DRIVER_LOG = "python-core-driver"


def processes_of(folder: Path) -> list[int]:
    """The process ids of those that `folder` marks, this process excepted; none where there is no /proc."""
    try:
        names = os.listdir("/proc")
    except OSError:
        return []
    others = [int(name) for name in names if name.isdigit() and int(name) != os.getpid()]
    return [process for process in others if _belongs(process, folder)]


def end_processes(folder: Path, grace_s: float = GRACE_S) -> list[int]:
    """Wait until the marked processes have ended, kill those that have not; the ids of the killed ones."""
    deadline = time.monotonic() + grace_s
    while (left := processes_of(folder)) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    for process in left:
        _kill(process, folder)
    return left


def end_session(folder: Path, grace_s: float = GRACE_S) -> None:
    """End the marked processes of a folder and remove it."""
    # A process may start another one just before it is killed.
    while end_processes(folder, grace_s):
        grace_s = _POLL_S
    shutil.rmtree(folder, ignore_errors=True)


def _belongs(process: int, folder: Path) -> bool:
    """Whether a process has the mark, or has files of the folder open to write to them.

    A process that gives itself a title may write over its environment, as the agents of Ray do.
    """
    if session_of(process) == folder:
        return True
    try:
        written = _written(process, folder)
        # A driver of another Salus that joined this Ray finds by itself that it is gone.
        return bool(written) and not any(name.startswith(_DRIVER_LOG) for name in written) and not _ended(process)
    except OSError:
        return False


def _written(process: int, folder: Path) -> list[str]:
    """The names of the folder's files that a process has open to write to them. OSError passes through."""
    found: list[str] = []
    for descriptor in os.listdir(f"/proc/{process}/fd"):
        path = os.readlink(f"/proc/{process}/fd/{descriptor}")
        if path.startswith(f"{folder}/"):
            with open(f"/proc/{process}/fdinfo/{descriptor}", encoding="ascii") as file:
                flags = next(int(line.split()[1], 8) for line in file if line.startswith("flags:"))
            found += [os.path.basename(path)] if flags & os.O_ACCMODE != os.O_RDONLY else []
    return found


def _ended(process: int) -> bool:
    """What was killed and not waited for yet keeps its entry. OSError passes through."""
    with open(f"/proc/{process}/stat", "rb") as file:
        return file.read().rpartition(b")")[2].split()[0] == b"Z"


def session_of(process: int) -> Path | None:
    """The folder of the session that a process belongs to; None for others, and those of other users."""
    mark = f"{MARKER}=".encode()
    try:
        with open(f"/proc/{process}/environ", "rb") as file:
            variables = file.read().split(b"\0")
        marks = [each.removeprefix(mark) for each in variables if each.startswith(mark)] if not _ended(process) else []
    except OSError:
        return None
    return Path(os.fsdecode(marks[0])) if marks else None


def _kill(process: int, folder: Path) -> None:
    try:
        handle = os.pidfd_open(process)
    except OSError:
        return
    try:
        # Again, now that the number cannot become another process'.
        if _belongs(process, folder):
            signal.pidfd_send_signal(handle, signal.SIGKILL)
    except ProcessLookupError:
        pass
    finally:
        os.close(handle)


def main(folder: Path) -> None:
    """Wait for the end of standard input, which a pipe reaches when its other end's process is gone."""
    for told in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # What tells the others to end is no reason to leave before them.
        signal.signal(told, signal.SIG_IGN)
    while sys.stdin.buffer.read(4096):
        pass
    if folder.is_dir():
        end_session(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
