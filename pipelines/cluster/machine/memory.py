"""Peak memory of a run: the proportional set sizes of this process and everything it started."""

from __future__ import annotations

import threading
import time

import psutil

GIB = 2**30
# Looking at ten gigabytes of pages takes a while, which trainers and engines on the same cores would pay for.
_MOST_OF_A_CORE = 0.02


class MemoryWatch:
    """Samples in the background; shared pages count once in all (proportional set size, Linux).

    Looks every `every_s` seconds, and less often where looking itself would cost more than a fiftieth of a core.

    Life: `with MemoryWatch() as watch: ...` -> `watch.peak_gib`
    """

    def __init__(self, every_s: float = 3.0) -> None:
        self._every_s = every_s
        self._peak = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory-watch", daemon=True)

    def __enter__(self) -> MemoryWatch:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._ended.set()
        self._thread.join()

    @property
    def peak_gib(self) -> float:
        return self._peak / GIB

    def _watch(self) -> None:
        pause_s = self._every_s
        while not self._ended.wait(pause_s):
            start = time.thread_time()
            self._peak = max(self._peak, tree_pss())
            pause_s = max(self._every_s, (time.thread_time() - start) / _MOST_OF_A_CORE)


def tree_pss() -> int:
    """Bytes of proportional set size of this process and all its descendants now."""
    this = psutil.Process()
    return sum(_pss(process) for process in [this, *this.children(recursive=True)])


def _pss(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
        # It ended between listing and reading.
        return 0
