"""The door of a replica: where clients' questions wait outside while its engine answers other ones."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from actors.serve.gateway.caller import find_route, route_path

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send


class Door:
    """Counts who is inside. Life: open -> (close -> emptied -> open)*; every call may be repeated. One event loop."""

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self._open.set()
        self._empty = asyncio.Event()
        self._empty.set()
        self._inside = 0

    @property
    def closed(self) -> bool:
        return not self._open.is_set()

    def close(self) -> None:
        """Let nobody in; those inside stay."""
        self._open.clear()

    def open(self) -> None:
        """Let all who wait in, and whoever comes."""
        self._open.set()

    async def emptied(self) -> None:
        """Return when nobody is inside."""
        await self._empty.wait()

    async def enter(self) -> None:
        """Wait until it is open, and go in; `leave` must follow."""
        # It may have been closed again before this task came to run.
        while self.closed:
            await self._open.wait()
        self._inside += 1
        self._empty.clear()

    def leave(self) -> None:
        self._inside -= 1
        if self._inside == 0:
            self._empty.set()


class DoorMiddleware:
    """ASGI middleware: what asks the model for answers goes through the door, all else passes by.

    It stands innermost, before the served app: what a client's question waits for there, it would otherwise wait for in
    the paused engine, and whatever stands before it measures the same.
    """

    def __init__(self, app: ASGIApp, door: Door) -> None:
        self._app = app
        self._door = door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = find_route(route_path(scope)) if scope["type"] == "http" else None
        if route is None or not route.generates:
            await self._app(scope, receive, send)
            return
        await self._door.enter()
        try:
            await self._app(scope, receive, send)
        finally:
            self._door.leave()
