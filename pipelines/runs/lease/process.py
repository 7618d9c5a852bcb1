"""Who holds a lease: one process, told apart from every other on this machine and on those that share its files."""

from __future__ import annotations

import os
import platform
import re
import uuid
from pathlib import Path

import psutil
from pydantic import Field

from actors.contract.records import Record

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_PID_NAMESPACE = Path("/proc/self/ns/pid")
# The kernel rounds the time of its boot to seconds.
_ROUNDING_S = 1.5


class Holder(Record):
    """A process, and the token of one lease it took."""

    # For people; containers may share a name.
    host: str = Field(pattern=r"^[\w.?-]+$")
    # Where `pid` means this process and no other: one boot of a kernel, and one namespace of process ids.
    place: str
    pid: int = Field(gt=0)
    # Seconds from the boot to the process' start, which no change of the clock moves; a process id alone is reused.
    started_s: float
    token: str

    @property
    def words(self) -> str:
        return f"process {self.pid} on host {self.host}"


def this_process() -> Holder:
    """This process, with a new token."""
    return Holder(
        host=re.sub(r"[^\w.-]", "?", platform.node()) or "unknown",
        place=_place(),
        pid=os.getpid(),
        started_s=_started_s(psutil.Process()),
        token=uuid.uuid4().hex,
    )


def has_ended(holder: Holder) -> bool:
    """Whether the process is known to be gone; False too where that cannot be seen from here."""
    if holder.place != _place():
        return False
    try:
        os.kill(holder.pid, 0)
        process = psutil.Process(holder.pid)
        # A zombie has ended; only its parent has not asked yet.
        reused = abs(_started_s(process) - holder.started_s) > _ROUNDING_S
        return reused or process.status() == psutil.STATUS_ZOMBIE
    except ProcessLookupError:
        return True
    except (PermissionError, psutil.Error):
        # Another account's, and perhaps hidden from this one: the age of its last beat must tell.
        return False


def _started_s(process: psutil.Process) -> float:
    return round(process.create_time() - psutil.boot_time(), 2)


def _place() -> str:
    try:
        return f"{_BOOT_ID.read_text(encoding='ascii').strip()} {os.readlink(_PID_NAMESPACE)}"
    except OSError:
        # Not Linux: the host's name must do.
        return platform.node()
