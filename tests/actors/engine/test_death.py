"""An engine whose core has died ends its process, and one that is closed does not."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import NoReturn

import psutil
import pytest

from actors.engine.faults.death import LOOK_S, CoreWatch, core_died


class Ended(BaseException):
    """What the end of a process is in a test: nothing catches it."""


class Engine:
    """An engine with a watch; `die` is what vLLM does when it sees its core die."""

    def __init__(self) -> None:
        self._mark = mark = threading.Event()
        self.ended = ended = threading.Event()

        def end() -> NoReturn:
            ended.set()
            raise Ended

        self.watch = CoreWatch(self, mark.is_set, end)

    @property
    def die(self) -> Callable[[], None]:
        return self._mark.set

    def generate(self) -> None:
        with self.watch.watched():
            raise RuntimeError("EngineCore encountered an issue")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_dead_core_is_found_while_the_caller_waits() -> None:
    engine = Engine()
    assert not engine.ended.wait(3 * LOOK_S)
    engine.die()
    assert engine.ended.wait(20)


def test_an_error_of_a_dead_core_reaches_no_caller() -> None:
    engine = Engine()
    with pytest.raises(RuntimeError, match="encountered an issue"):
        engine.generate()
    engine.die()
    with pytest.raises(Ended):
        engine.generate()


def test_an_engine_that_is_let_go_or_stopped_ends_nothing() -> None:
    gone = Engine()
    die, ended = gone.die, gone.ended
    # vLLM closes its core, and marks it as dead, once nothing holds the engine.
    del gone
    die()
    stopped = Engine()
    stopped.watch.stop()
    stopped.die()
    with pytest.raises(RuntimeError, match="encountered an issue"):
        stopped.generate()
    assert not ended.wait(3 * LOOK_S) and not stopped.ended.is_set()


def test_a_core_in_the_callers_own_process_is_not_watched() -> None:
    class Llm:
        class llm_engine:
            engine_core = object()

    assert core_died(Llm) is None
    threads = threading.active_count()
    with pytest.raises(ValueError, match="as it is"), CoreWatch(Llm, core_died(Llm)).watched():
        raise ValueError("as it is")
    assert threading.active_count() == threads


PROCESS = """
import subprocess, sys, time, atexit
from actors.engine.faults.death import CoreWatch
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
dead = []
{early}
class Owner: pass
owner = Owner()
watch = CoreWatch(owner, lambda: bool(dead))
{late}
"""


def test_the_process_ends_with_all_that_it_started_and_says_why() -> None:
    code = PROCESS.format(early="", late="dead.append(1)\ntime.sleep(600)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "another one takes its place" in done.stderr
    child = int(done.stdout)
    until_s = time.monotonic() + 20
    while psutil.pid_exists(child) and psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < until_s
        time.sleep(0.05)


def test_a_process_that_ends_by_itself_ends_as_it_would_without_a_watch() -> None:
    # vLLM closes its cores there, which takes a while.
    early = "atexit.register(lambda: (dead.append(1), time.sleep(1), child.kill(), print('closed')))"
    done = subprocess.run([sys.executable, "-c", PROCESS.format(early=early, late="")], capture_output=True, timeout=60)
    assert done.returncode == 0 and done.stdout.endswith(b"closed\n")
