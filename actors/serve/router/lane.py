"""One model's way through a router: open or held, and how many requests are under way on it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from actors.errors import SalusError
from actors.serve.router.route import Route


class RouteLane:
    """Life: open -> (hold | close -> [point] -> release)*. It belongs to one event loop."""

    def __init__(self, route: Route) -> None:
        self.route = route
        self._opened = asyncio.Event()
        self._opened.set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._running = 0
        self.waiting = 0
        # Until when (s, monotonic) a publisher is at work here.
        self.held_until = float("-inf")
        # One change at a time.
        self.changing = asyncio.Lock()

    @property
    def held(self) -> bool:
        return not self._opened.is_set()

    @asynccontextmanager
    async def passing(self) -> AsyncIterator[Route]:
        """Inside, a request is under way to the route this gives; it waits before that while the lane is held."""
        self.waiting += 1
        try:
            # Held again between the release and this task's turn, it waits on.
            while self.held:
                await self._opened.wait()
        finally:
            self.waiting -= 1
        self._running += 1
        self._idle.clear()
        try:
            yield self.route
        finally:
            self._running -= 1
            if not self._running:
                self._idle.set()

    def close(self) -> None:
        """Let requests wait from now on."""
        self._opened.clear()

    async def hold(self, drain_timeout_s: float) -> None:
        """Let requests wait from now on, and return when those under way have ended.

        Raises:
            SalusError: they did not in time; the lane is open again.
        """
        self.close()
        try:
            await asyncio.wait_for(self._idle.wait(), drain_timeout_s)
        except TimeoutError as error:
            self.release()
            raise SalusError(
                f"running answers did not end within {drain_timeout_s:g} s; raise publish.drain_timeout_s"
            ) from error

    def point(self, route: Route) -> None:
        """Lead what comes from now on to another application."""
        self.route = route

    def release(self) -> None:
        """Let the waiting requests go, in the order in which they came."""
        self._opened.set()
