"""Ids of answers that say which model gave them, so that feedback finds its way back through a router."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

# vLLM makes the id of an answer of it.
_HEADER = b"x-request-id"


class AnswerIds:
    """ASGI middleware inside the gateway, which lets no client choose this header."""

    def __init__(self, app: ASGIApp, model: str) -> None:
        self._app = app
        self._model = model

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            kept = [header for header in scope["headers"] if header[0] != _HEADER]
            scope = {**scope, "headers": [*kept, (_HEADER, f"{self._model}-{uuid.uuid4().hex}".encode())]}
        await self._app(scope, receive, send)
