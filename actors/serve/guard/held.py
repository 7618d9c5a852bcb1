"""A response held back until it was judged."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from actors.serve.gateway.refusal import Header

if TYPE_CHECKING:
    from starlette.types import Message, Send

_OK = 200


class HeldResponse:
    """A `send` that keeps a good response and passes any other on. Life: start -> bodies -> whole | passed.

    What is longer than `most` bytes is not kept, so that no response fills the memory, and counts as unreadable.
    """

    def __init__(self, send: Send, most: int, begins: Callable[[], None]) -> None:
        """`begins` is called when the first part of a body comes, which is when its policy is sure."""
        self._send = send
        self._most = most
        self._begins = begins
        self._start: Message | None = None
        self.parts: list[bytes] = []
        self._size = 0
        self._has_body = False
        self.passed = False
        self.complete = False
        self.too_long = False

    async def __call__(self, message: Message) -> None:
        """Take what the app sends."""
        if message["type"] == "http.response.start":
            self._start = message
            self.passed = message["status"] != _OK
        if self.passed:
            await self._send(message)
        elif message["type"] == "http.response.body":
            self._keep(message)

    @property
    def begun(self) -> bool:
        """Whether there is a good response."""
        return self._start is not None and not self.passed

    @property
    def headers(self) -> list[Header]:
        """The response's headers, with names in lower case."""
        assert self._start is not None
        return [(bytes(name).lower(), bytes(value)) for name, value in self._start.get("headers", ())]

    def _keep(self, message: Message) -> None:
        if not self._has_body:
            self._has_body = True
            self._begins()
        body: bytes = message.get("body", b"")
        self._size += len(body)
        self.complete = not message.get("more_body", False)
        if self._size > self._most:
            self.too_long = True
            self.parts.clear()
        elif body:
            self.parts.append(body)
