"""Child processes, a few at a time: started, watched, and ended with this one however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import NoReturn, Protocol

POLL_S = 0.5
# A run that is interrupted ends its actors; training may take half a minute to let go.
GRACE_S = 60.0


@dataclass(frozen=True)
class Job:
    """A program to run, and the file that gets all it writes."""

    name: str
    command: tuple[str, ...]
    log: Path


# Of the jobs that wait, in their order, and those that run: which are started now.
Pick = Callable[[Sequence[Job], Sequence[Job]], Sequence[Job]]


def at_most(count: int) -> Pick:
    """Jobs in their order, so many at once."""
    return lambda waiting, running: waiting[: max(0, count - len(running))]


class JobWatch(Protocol):
    """Who is told how jobs are."""

    def started(self, job: Job) -> None: ...

    def running(self, job: Job) -> None:
        """Called at every look at a job that has not ended."""

    def ended(self, job: Job, code: int) -> None: ...

    def stopping(self, jobs: Sequence[Job]) -> None:
        """Called before jobs are ended because this process is."""


def run_jobs(jobs: Sequence[Job], pick: Pick, watch: JobWatch, grace_s: float = GRACE_S) -> dict[str, int]:
    """Run all jobs, each once it is picked; returns exit codes by name.

    A job that fails stops no other. However this call ends, by Ctrl-C or SIGTERM too, no job is left running.

    Args:
        jobs: what is run.
        pick: asked at the beginning and whenever a job has ended; it picks at least one where none runs.
        watch: is told of them.
        grace_s: how long an interrupted job may take to end before it is killed.
    """
    waiting, running, codes = list(jobs), dict[str, tuple[Job, subprocess.Popen[bytes]]](), dict[str, int]()
    look = True
    with _terminated_as_exit():
        try:
            while waiting or running:
                for job in pick(waiting, [job for job, _ in running.values()]) if look and waiting else ():
                    waiting.remove(job)
                    running[job.name] = (job, _start(job))
                    watch.started(job)
                if not running:
                    raise RuntimeError(f"none of {', '.join(job.name for job in waiting)} was picked")
                look = False
                for name, (job, process) in list(running.items()):
                    code = process.poll()
                    if code is None:
                        watch.running(job)
                    else:
                        del running[name]
                        codes[name] = code
                        watch.ended(job, code)
                        look = True
                time.sleep(POLL_S if running else 0.0)
        finally:
            _stop(dict(running.values()), watch, grace_s)
    return codes


def last_sentence(log: Path, code: int) -> str:
    """What a failed job said last: its own one-sentence error, or else its log's last line, in plain characters."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.is_file() else []
    lines = ["".join(c for c in line if c.isprintable()).strip() for line in lines]
    own = [line.removeprefix("salus: ") for line in lines if line.startswith("salus: ")]
    said = own or [line for line in lines if line]
    if code < 0 and not own:
        return f"It was ended by signal {-code}{_signal_name(-code)}."
    return said[-1] if said else f"It ended with exit code {code} and said nothing."


def _signal_name(number: int) -> str:
    known = {member.value: member.name for member in signal.Signals}
    return f" ({known[number]})" if number in known else ""


def _start(job: Job) -> subprocess.Popen[bytes]:
    job.log.parent.mkdir(parents=True, exist_ok=True)
    with job.log.open("wb") as log:
        # A session of its own: Ctrl-C reaches it once, through `_stop`, and not twice.
        return subprocess.Popen(
            job.command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )


def _stop(running: Mapping[Job, subprocess.Popen[bytes]], watch: JobWatch, grace_s: float) -> None:
    """Ask all at the same time, then insist; a second Ctrl-C kills at once."""
    processes = list(running.values())
    try:
        if processes:
            watch.stopping(list(running))
        # The second is for a process that was started deaf to the first, as in the background of a script.
        for asked in (signal.SIGINT, signal.SIGTERM):
            for process in _alive(processes):
                process.send_signal(asked)
            end = time.monotonic() + grace_s
            while _alive(processes) and time.monotonic() < end:
                time.sleep(0.1)
    finally:
        for process in _alive(processes):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _alive(processes: Sequence[subprocess.Popen[bytes]]) -> list[subprocess.Popen[bytes]]:
    return [process for process in processes if process.poll() is None]


@contextmanager
def _terminated_as_exit() -> Iterator[None]:
    """SIGTERM ends this process as an exception does, so that its jobs are ended with it."""
    before = signal.signal(signal.SIGTERM, _exit)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _exit(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)
