"""A replica whose engine has died ends at once, before it has told a client so.

It would otherwise answer every question with an error, and fast. A proxy that looks for the least busy replica would
then send it all of them, until Serve has found it unhealthy three times. A replica that is gone has answered no
client: the proxy asks another one the same, and Serve starts a new one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

from actors.engine.faults.death import end_process

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Where Serve keeps what its replicas say.
logger = logging.getLogger("ray.serve")


def end_replica() -> NoReturn:
    """End this process without a word to the clients that wait for it."""
    end_process("The engine of this replica has died: the replica ends, and another one takes its place.", logger)


class EngineDeathWatch:
    """ASGI middleware: nothing the app says after its engine's death goes out."""

    def __init__(self, app: ASGIApp, dead: Callable[[], bool], end: Callable[[], None] = end_replica) -> None:
        """`dead`: whether the engine has died; asked for each part of an answer. `end`: must not return."""
        self._app = app
        self._dead = dead
        self._end = end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_alive(message: Message) -> None:
            if self._dead():
                self._end()
            await send(message)

        await self._app(scope, receive, send_alive if scope["type"] == "http" else send)
