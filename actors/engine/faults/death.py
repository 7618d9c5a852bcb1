"""An engine whose core has died ends its own process at once.

On GPUs vLLM's engine core is a process of its own. A caller that waits for a killed core waits for ever. A caller of a
core that lost a worker gets an error, and its process lives on. Ray replaces a process that ends, and repeats its task.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import psutil

logger = logging.getLogger(__name__)
# How often a core is looked at. Seconds.
LOOK_S = 0.2
SENTENCE = "The engine core of this process has died: the process ends. In a run another one takes its place."


def end_process(sentence: str = SENTENCE, log: logging.Logger = logger) -> NoReturn:
    """End this process and what it started, without a word to those that wait for it; its log says why.

    The other processes of a broken engine hold memory of the GPU, which the next engine needs.
    """
    log.error(sentence)
    logging.shutdown()
    for child in psutil.Process().children(recursive=True):
        try:
            child.kill()
        except psutil.NoSuchProcess:
            continue
    os._exit(1)


def core_died(llm: Any) -> Callable[[], bool] | None:
    """What tells whether the core of a `vllm.LLM` has died; it holds no reference to the engine.

    None where the core is in the caller's own process, with which it dies.
    """
    resources = getattr(llm.llm_engine.engine_core, "resources", None)
    return None if resources is None else lambda: bool(resources.engine_dead)


class CoreWatch:
    """Calls `end` once an engine's core has died, from a thread of its own, whatever the engine's caller waits for.

    vLLM marks a core as dead also when it is closed. So nothing is called once `owner`, who holds the engine, is gone,
    or when this process ends by itself, or after `stop`.
    """

    def __init__(
        self, owner: object, dead: Callable[[], bool] | None, end: Callable[[], NoReturn] = end_process
    ) -> None:
        """`dead`: must hold no reference to `owner`; None: there is nothing to watch."""
        self._dead = dead
        self._end = end
        self._stopped = threading.Event()
        if dead is None:
            return
        # Before what vLLM registered there, which closes its cores.
        atexit.register(self._stopped.set)
        arguments = (weakref.ref(owner), dead, end, self._stopped)
        threading.Thread(target=_watch, args=arguments, daemon=True, name="engine-core-watch").start()

    def stop(self) -> None:
        """Watch no longer: the engine is about to be closed."""
        self._stopped.set()
        atexit.unregister(self._stopped.set)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Inside, an error of an engine that has died ends the process before a caller is told of it."""
        try:
            yield
        except Exception:
            if self._dead is not None and self._dead() and not self._stopped.is_set():
                self._end()
            raise


def _watch(
    owner: weakref.ref[object], dead: Callable[[], bool], end: Callable[[], NoReturn], stopped: threading.Event
) -> None:
    while not stopped.wait(LOOK_S):
        found = dead()
        # Asked after the core: one that is closed with its owner is marked after the owner is gone.
        if owner() is None:
            return
        if found and not stopped.is_set():
            end()
