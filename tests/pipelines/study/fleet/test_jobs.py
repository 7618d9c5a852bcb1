"""Real child processes: how many run at once, what becomes of the others when one fails, and how all of them end."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil
import pytest

from pipelines.study.fleet.jobs import Job, at_most, last_sentence, run_jobs

# Says that it is up, then waits for Ctrl-C and takes leave.
POLITE = """
import pathlib, signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    pathlib.Path("{up}").touch()
    time.sleep(60)
except KeyboardInterrupt:
    pathlib.Path("{left}").touch()
    raise SystemExit(130)
"""
# Deaf, and with a deaf child of its own.
STUBBORN = """
import pathlib, signal, subprocess, sys, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
pathlib.Path("{up}.part").write_text(str(child.pid))
pathlib.Path("{up}.part").rename("{up}")
time.sleep(60)
"""


class Seen:
    """Remembers what it was told, and does something at every look at a running job."""

    def __init__(self, look: Callable[[], None] = lambda: None) -> None:
        self.events: list[str] = []
        self.at_once = self.most = 0
        self._look = look

    def started(self, job: Job) -> None:
        self.events.append(f"{job.name} started")
        self.at_once += 1
        self.most = max(self.most, self.at_once)

    def running(self, job: Job) -> None:
        self._look()

    def ended(self, job: Job, code: int) -> None:
        self.events.append(f"{job.name} ended {code}")
        self.at_once -= 1

    def stopping(self, jobs: Sequence[Job]) -> None:
        self.events.append(f"stopping {' '.join(job.name for job in jobs)}")


def gone(pid: int, within_s: float = 10.0) -> bool:
    """Whether a process has ended, or does so soon."""
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.05)
    return False


def job(tmp_path: Path, name: str, program: str) -> Job:
    return Job(name, (sys.executable, "-c", program), tmp_path / "logs" / f"{name}.log")


def test_all_run_a_few_at_a_time_and_a_failure_stops_no_other(tmp_path: Path) -> None:
    programs = {"a": "print('one')", "b": "import sys; sys.exit(2)", "c": "print('three')"}
    seen = Seen()
    codes = run_jobs([job(tmp_path, name, program) for name, program in programs.items()], at_most(2), seen)
    assert codes == {"a": 0, "b": 2, "c": 0}
    assert seen.most == 2
    assert seen.events.index("c started") > min(seen.events.index("a ended 0"), seen.events.index("b ended 2"))
    assert (tmp_path / "logs" / "c.log").read_text() == "three\n"


def test_a_log_holds_the_last_attempt_alone(tmp_path: Path) -> None:
    for text in ("first", "second"):
        run_jobs([job(tmp_path, "a", f"print('{text}')")], at_most(1), Seen())
    assert (tmp_path / "logs" / "a.log").read_text() == "second\n"


def test_no_jobs_is_no_work() -> None:
    assert run_jobs([], at_most(2), Seen()) == {}


@pytest.mark.parametrize("ending", ["ctrl-c", "sigterm"])
def test_however_this_process_ends_the_jobs_end_cleanly(tmp_path: Path, ending: str) -> None:
    ups, lefts = ([tmp_path / f"{kind}-{name}" for name in "ab"] for kind in ("up", "left"))

    def look() -> None:
        if all(up.is_file() for up in ups):
            if ending == "sigterm":
                os.kill(os.getpid(), signal.SIGTERM)
            else:
                raise KeyboardInterrupt

    jobs = [
        job(tmp_path, name, POLITE.format(up=up, left=left)) for name, up, left in zip("ab", ups, lefts, strict=True)
    ]
    waiting = job(tmp_path, "c", "print('never')")
    before = signal.getsignal(signal.SIGTERM)
    seen = Seen(look)
    with pytest.raises(KeyboardInterrupt if ending == "ctrl-c" else SystemExit):
        run_jobs([*jobs, waiting], at_most(2), seen)
    assert all(left.is_file() for left in lefts)
    assert seen.events[-1] == "stopping a b" and "c started" not in seen.events
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_job_that_does_not_listen_is_killed_with_all_it_started(tmp_path: Path) -> None:
    up = tmp_path / "up"

    def look() -> None:
        if up.is_file():
            raise KeyboardInterrupt

    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_jobs([job(tmp_path, "a", STUBBORN.format(up=up))], at_most(1), Seen(look), grace_s=0.3)
    assert time.monotonic() - start < 30
    assert gone(int(up.read_text()))


@pytest.mark.parametrize(
    ("log", "code", "says"),
    [
        ("noise\nsalus: The judge is bad.\n(raylet) later noise\n", 2, "The judge is bad."),
        ("Traceback\n\x1b[31mValueError: 7\x1b[0m\n\n", 1, "[31mValueError: 7[0m"),
        ("all was well\n", -9, "It was ended by signal 9 (SIGKILL)."),
        ("", 1, "It ended with exit code 1 and said nothing."),
        (None, 3, "It ended with exit code 3 and said nothing."),
    ],
)
def test_a_failed_job_is_told_by_its_last_sentence(tmp_path: Path, log: str | None, code: int, says: str) -> None:
    path = tmp_path / "a.log"
    if log is not None:
        path.write_text(log, encoding="utf-8")
    assert last_sentence(path, code) == says
