"""Uploads beside a run: now and then in the background, and waited for where something may only be done after them."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

from actors.contract.run_folder import RunFolder
from actors.errors import SalusError
from pipelines.runs.store.contents import Snapshot, snapshot
from pipelines.runs.store.faults import told
from pipelines.runs.store.mirror import Mirror
from pipelines.runs.store.place import RemotePlace

EVERY_S = 30.0
# Between tries of an upload that is waited for: a run of days outlives a network that is down for some minutes.
WAITS_S = (2.0, 10.0, 30.0, 120.0)


class Uploads:
    """What a run's driver knows of its store. Both calls are for moments when no file of the run is half written."""

    def __init__(
        self,
        place: RemotePlace,
        folder: RunFolder,
        mirror: Mirror,
        say: Callable[[str], None],
        every_s: float = EVERY_S,
        waits_s: Sequence[float] = WAITS_S,
    ) -> None:
        self._place, self._folder, self._mirror, self._say = place, folder, mirror, say
        self._every_s, self._waits_s = every_s, tuple(waits_s)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store")
        self._running: Future[None] | None = None
        self._ended = threading.Event()
        self._noted_at = time.monotonic()

    def note(self) -> None:
        """Upload what there is by now in the background, unless that is under way or was done a moment ago."""
        busy = self._running is not None and not self._running.done()
        if busy or time.monotonic() - self._noted_at < self._every_s:
            return
        self._noted_at = time.monotonic()
        # A folder that vanishes while it is listed: the next time will do.
        with contextlib.suppress(OSError):
            self._running = self._thread.submit(self._push_quietly, snapshot(self._folder))

    def keep(self) -> None:
        """Return when all there is has reached the store, its index included.

        Raises:
            SalusError: the store refuses, also after some minutes, or the run is another process' by now.
        """
        self._thread.submit(self._push, snapshot(self._folder)).result()
        self._noted_at = time.monotonic()

    @contextmanager
    def open(self) -> Iterator[Uploads]:
        """The uploads; at the end all there is is kept, unless the work failed."""
        try:
            yield self
            self.keep()
        finally:
            self._ended.set()
            self._thread.shutdown(cancel_futures=True)

    def _push(self, there: Snapshot) -> None:
        for wait_s in self._waits_s:
            try:
                self._mirror.push(there)
                return
            except OSError as error:
                words = " ".join(str(error).split())
                self._say(f"{self._place} did not take the run's files ({words}); trying again in {wait_s:g} s")
                if self._ended.wait(wait_s):
                    break
        cure = f"the files are in {self._folder.root}: the same command goes on where it stopped, and uploads them"
        with told(self._place, "keep the run in", cure):
            self._mirror.push(there)

    def _push_quietly(self, there: Snapshot) -> None:
        try:
            self._mirror.push(there)
        except SalusError:
            # A lost lease, which the run finds out by itself.
            return
        except OSError as error:
            words = " ".join(str(error).split())
            self._say(f"{self._place} did not take the run's files ({words}); the run goes on, and they are kept here")
