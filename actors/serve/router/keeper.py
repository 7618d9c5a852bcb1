"""Keeps one router's lanes at what the desk of routes says, and moves a model to its next application."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable

from ray.exceptions import RayActorError

from actors.contract.records import Record
from actors.serve.router.lane import RouteLane
from actors.serve.router.route import KnownRoute, Route

logger = logging.getLogger("ray.serve")


class RouterState(Record):
    """Where a router leads requests, and the models whose requests it holds."""

    routes: tuple[Route, ...]
    held: tuple[str, ...]


class RouteKeeper:
    """The lanes of one router replica. Life of a move: hold -> point -> release -> settle, on all replicas each.

    As with `EngineSwap`, the desk's word is the truth, but for `hold_s` after a publisher's last word about a
    model the keeper leaves that model alone, for then it runs ahead of the desk on purpose. If the publisher dies
    half-way, the hold runs out, and the next `follow_desk` goes where the desk says. Every call may be repeated.
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
        """End the hold and go to what the desk says."""
        self._lane(route).held_until = float("-inf")
        await self.follow_desk()
        return self.state

    async def follow_desk(self) -> None:
        """Go to what the desk says of every model that no publisher is at work on; a silent desk changes nothing."""
        try:
            known = await self._ask()
        except (ValueError, TimeoutError, RayActorError) as error:
            # A router that leads must not stop because nobody says whether it should lead elsewhere.
            logger.warning("The desk of routes does not answer: %s", error)
            return
        for entry in known:
            self._follow(entry)
        there = {entry.route.model for entry in known}
        for model in [model for model, lane in self.lanes.items() if model not in there and self._left_alone(lane)]:
            # Its policy was taken down; what still waits is told so by whoever it asks.
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
