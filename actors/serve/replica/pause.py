"""The pause of a replica: where clients' questions wait outside while its engine answers other ones."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from actors.serve.gateway.caller import find_route, route_path

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send


class Pause:
    """Counts who is inside. Life: (begin -> drained -> end)*; every call may be repeated. One event loop."""

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self._open.set()
        self._empty = asyncio.Event()
        self._empty.set()
        self._inside = 0

    @property
    def active(self) -> bool:
        return not self._open.is_set()

    def begin(self) -> None:
        """Let no question in; those inside stay."""
        self._open.clear()

    def end(self) -> None:
        """Let in all that wait, and all that come."""
        self._open.set()

    async def drained(self) -> None:
        """Return when no question is inside."""
        await self._empty.wait()

    async def enter(self) -> None:
        """Wait until no pause is on, and go in; `leave` must follow."""
        # It may have begun again before this task came to run.
        while self.active:
            await self._open.wait()
        self._inside += 1
        self._empty.clear()

    def leave(self) -> None:
        self._inside -= 1
        if self._inside == 0:
            self._empty.set()


class PauseMiddleware:
    """ASGI middleware: what asks the model for answers waits out a pause, all else passes by.

    It is innermost, before the served app. A client's question waits there as long as it would wait in the paused
    engine, so all that is before it measures the same.
    """

    def __init__(self, app: ASGIApp, pause: Pause) -> None:
        self._app = app
        self._pause = pause

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = find_route(route_path(scope)) if scope["type"] == "http" else None
        if route is None or not route.generates:
            await self._app(scope, receive, send)
            return
        await self._pause.enter()
        try:
            await self._app(scope, receive, send)
        finally:
            self._pause.leave()
