"""Whether the process that holds a lease is gone, held against real processes."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator

import psutil
import pytest
from pydantic import ValidationError

from pipelines.runs.lease.process import Holder, has_ended, this_process


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "60"])
    yield process
    process.kill()
    process.wait()


def holder_of(pid: int) -> Holder:
    started_s = psutil.Process(pid).create_time() - psutil.boot_time()
    return this_process().model_copy(update={"pid": pid, "started_s": started_s})


def test_a_killed_process_has_ended_whether_its_parent_asked_or_not(sleeper: subprocess.Popen[bytes]) -> None:
    holder = holder_of(sleeper.pid)
    assert not has_ended(holder)
    sleeper.kill()
    end = time.monotonic() + 10
    while psutil.Process(sleeper.pid).status() != psutil.STATUS_ZOMBIE and time.monotonic() < end:
        time.sleep(0.01)
    assert has_ended(holder)
    sleeper.wait()
    assert has_ended(holder)


def test_a_stopped_process_has_not_ended(sleeper: subprocess.Popen[bytes]) -> None:
    sleeper.send_signal(signal.SIGSTOP)
    assert not has_ended(holder_of(sleeper.pid))


def test_another_process_of_the_same_number_is_not_the_holder(sleeper: subprocess.Popen[bytes]) -> None:
    holder = holder_of(sleeper.pid)
    assert has_ended(holder.model_copy(update={"started_s": holder.started_s - 60}))


def test_of_a_process_elsewhere_nothing_is_known(sleeper: subprocess.Popen[bytes]) -> None:
    holder = holder_of(sleeper.pid).model_copy(update={"place": "another boot"})
    sleeper.kill()
    sleeper.wait()
    assert not has_ended(holder)


def test_each_lease_has_a_token_of_its_own() -> None:
    one, two = this_process(), this_process()
    assert one.token != two.token
    assert one == two.model_copy(update={"token": one.token})
    assert not has_ended(one)


@pytest.mark.parametrize("change", [{"pid": 0}, {"pid": -1}, {"host": "\x1b[2Jme"}])
def test_a_holder_that_would_signal_others_or_steer_a_terminal_is_not_read(change: dict[str, int | str]) -> None:
    with pytest.raises(ValidationError):
        Holder.model_validate({**this_process().model_dump(), **change})
