"""The lanes of a router: one for each model, open or held, kept at what the actor of routes says of it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from ray.exceptions import RayActorError

from actors.contract.records import Record
from actors.errors import SalusError
from actors.serve.router.routes import KnownRoute, Route


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


logger = logging.getLogger("ray.serve")


class RouterState(Record):
    """Where a router leads requests, and the models whose requests it holds."""

    routes: tuple[Route, ...]
    held: tuple[str, ...]


class RouterLanes:
    """The lanes of one router replica. Life of a move: hold -> point -> release -> settle, on all replicas each.

    As with `EngineSwap`, the table's word is the truth. But for `hold_s` after a publisher's last word about a model,
    that model is left alone, because it is ahead of the table on purpose. If the publisher dies half-way, the hold runs
    out, and the next `follow` goes where the table says. Every call may be repeated.
    """

    def __init__(
        self,
        ask: Callable[[], Awaitable[tuple[KnownRoute, ...]]],
        *,
        drain_timeout_s: float,
        hold_s: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask = ask
        self._drain_timeout_s = drain_timeout_s
        self._hold_s = hold_s
        self._monotonic = monotonic
        self.lanes: dict[str, RouteLane] = {}

    @property
    def state(self) -> RouterState:
        return RouterState(
            routes=tuple(lane.route for lane in self.lanes.values()),
            held=tuple(model for model, lane in self.lanes.items() if lane.held),
        )

    async def hold(self, route: Route) -> RouterState:
        """Let running requests of the route's model end, hold back new ones; they wait, none is refused.

        Raises:
            SalusError: running answers did not end in time; nothing is held then.
        """
        lane = self._lane(route)
        async with lane.changing:
            self._keep_off(lane)
            await lane.hold(self._drain_timeout_s)
        return self.state

    async def point(self, route: Route) -> RouterState:
        """Lead the model's requests there; they go on waiting."""
        lane = self._lane(route)
        async with lane.changing:
            self._keep_off(lane)
            lane.point(route)
        return self.state

    async def release(self, route: Route) -> RouterState:
        """Let the model's requests go; the hold goes on."""
        lane = self._lane(route)
        async with lane.changing:
            self._keep_off(lane)
            lane.release()
        return self.state

    async def settle(self, route: Route) -> RouterState:
        """End the hold and go to what the route table says."""
        self._lane(route).held_until = float("-inf")
        await self.follow()
        return self.state

    async def follow(self) -> None:
        """Go to what the table says of every model that no publisher is at work on; a silent table changes nothing."""
        try:
            known = await self._ask()
        except (ValueError, TimeoutError, RayActorError) as error:
            # A router that leads must not stop because the route table does not say whether it should lead elsewhere.
            logger.warning("The route table does not answer: %s", error)
            return
        for entry in known:
            self._follow(entry)
        there = {entry.route.model for entry in known}
        for model in [model for model, lane in self.lanes.items() if model not in there and self._left_alone(lane)]:
            # Its policy was taken down; what still waits is told so by the application that it asks.
            self.lanes.pop(model).release()

    def _follow(self, known: KnownRoute) -> None:
        # No await in here: requests see the lane before or after, never in between.
        lane = self._lane(known.route)
        if not self._left_alone(lane):
            return
        if lane.route != known.route:
            logger.info("Router goes from %s to %s.", lane.route.prefix, known.route.prefix)
            lane.point(known.route)
        if known.moving:
            # One that started, or was not reached, while the others hold.
            lane.close()
        else:
            lane.release()

    def _lane(self, route: Route) -> RouteLane:
        return self.lanes.setdefault(route.model, RouteLane(route))

    def _left_alone(self, lane: RouteLane) -> bool:
        return not lane.changing.locked() and self._monotonic() >= lane.held_until

    def _keep_off(self, lane: RouteLane) -> None:
        lane.held_until = self._monotonic() + self._hold_s
