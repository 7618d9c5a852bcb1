"""Peak memory of a run: the proportional set sizes of this process and everything it started."""

from __future__ import annotations

import threading

import psutil

GIB = 2**30


class MemoryWatch:
    """Samples in the background; shared pages count once in all (proportional set size, Linux).

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
        while not self._ended.wait(self._every_s):
            self._peak = max(self._peak, tree_pss())


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
