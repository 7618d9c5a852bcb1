"""The way back to the client: safe headers on everything, and the version of the policy that answers."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING

from pydantic_core import from_json

from actors.serve.gateway.exchange import STREAM_KIND, ExchangeLayers, ExchangeReader, ServedAnswer, ServedExchange
from actors.serve.gateway.refusal import PAGE_HEADERS, Header, Refused

if TYPE_CHECKING:
    from starlette.types import Message, Send

VERSION_HEADER = b"x-salus-policy"
_NOT_FOR_HEADERS = re.compile(rb"[^\x21-\x7e]")
_JSON: Header = (b"content-type", b"application/json")

# Each is added where the app has not set its own: a page brings its own policy of what it may load.
_SAFE: tuple[Header, ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cache-control", b"no-store"),
)
# The app may not say these: vLLM's own CORS lets every origin in, and the id is the gateway's.
_OWN = (b"access-control-", b"x-request-id", VERSION_HEADER)
# How a stream begins to say that it has failed; vLLM sends that in a part of its own.
_STREAM_ERROR = b'data: {"error"'
_OK = 200
_SERVER_ERROR = 500


class AppFailed(Exception):
    """The app answered, and said that it had failed; nothing of that was sent."""


class Answer:
    """A `send` around the server's own. Life: held start -> first body, the start before it -> bodies.

    The start is held back until the first part of the body, streamed or not, because only then is it sure who
    answers. For a request that waited while policies were swapped, the app may send the start early, but the first
    token comes from the new policy.
    """

    def __init__(self, send: Send, version: Callable[[], str], own: Iterable[Header]) -> None:
        """`own`: headers that are this gateway's to say."""
        self._send = send
        self._version = version
        self._own = tuple(own)
        self._held: Message | None = None
        self._streams = False
        # Whether its client may learn which policy answers.
        self.names_policy = False
        self.begun = False
        self.complete = False
        # None until something was sent: the client left before.
        self.status: int | None = None
        self.policy: str | None = None

    async def __call__(self, message: Message) -> None:
        """Send what the app sends."""
        if not self.begun:
            if message["type"] == "http.response.start":
                self._held = message
                return
            await self._begin()
        if self._streams and message.get("body", b"").startswith(_STREAM_ERROR):
            message = {**message, "body": told_apart(message["body"])}
        await self._send(message)
        self.complete = not message.get("more_body", False)

    async def finish(self) -> None:
        """The app has returned: one that has sent no body at all has an empty one."""
        if not self.begun and self._held is not None:
            await self({"type": "http.response.body", "body": b"", "more_body": False})

    async def refuse(self, refused: Refused, as_page: bool = False) -> None:
        """Answer in the app's place; nothing may have begun. `as_page`: as HTML, for a person."""
        body, kind = (refused.page(), PAGE_HEADERS) if as_page else (refused.body(), (_JSON,))
        length = (b"content-length", str(len(body)).encode())
        await self._start(refused.status, finished((*kind, length, *refused.headers), self._own))
        await self._send({"type": "http.response.body", "body": body, "more_body": False})

    async def empty(self, headers: Iterable[Header]) -> None:
        """Answer 204 in the app's place."""
        await self._start(204, finished(headers, self._own))
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _begin(self) -> None:
        if self._held is None:
            raise RuntimeError("The app sent a body without a start.")
        self.policy = self._version()
        sent = [(bytes(name).lower(), bytes(value)) for name, value in self._held.get("headers", ())]
        status: int = self._held["status"]
        if status == 500:
            # The words of a framework or an engine, which may hold a traceback, or a path of this machine.
            raise AppFailed("The app answered 500.")
        self._streams = dict(sent).get(b"content-type", b"").startswith(STREAM_KIND)
        version = (VERSION_HEADER, _NOT_FOR_HEADERS.sub(b"?", self.policy.encode("ascii", "replace")))
        kept = [header for header in sent if not header[0].startswith(_OWN)]
        await self._start(status, finished(kept, (*self._own, version) if self.names_policy else self._own))

    async def _start(self, status: int, headers: list[Header]) -> None:
        self.begun = True
        self.status = status
        await self._send({"type": "http.response.start", "status": status, "headers": headers})


class AnswerTail:
    """Collects the answer to one exchange, once for all who read it, on its way from the app to the client.

    Life: run. A good answer is held back where there is a guard, and what that says goes out; any other goes on part
    by part. Behind the last part come those who read.
    """

    def __init__(self, exchange: ServedExchange, layers: ExchangeLayers, answer: Answer) -> None:
        self._exchange = exchange
        self._layers = layers
        self._guarded = layers.guard is not None
        self._answer = answer
        # What the client gets.
        self.given = exchange.answer

    async def run(self, app: Callable[[Send], Awaitable[None]]) -> None:
        """Have the app answer."""
        ask = partial(app, self)
        guard = self._layers.guard
        if guard is None:
            await ask()
            await self._answer.finish()
            return
        given = await guard.given(self._exchange, ask)
        if given is None:
            await self._answer.finish()
            return
        self.given = given
        await self._deliver(given)
        await self._read(self._layers.capture)

    def __call__(self, message: Message) -> Awaitable[None]:
        """Take what the app sends. A part that only passes costs no coroutine of its own: there are many."""
        said = self._exchange.answer
        said.see(message)
        held = self._guarded and said.status == _OK
        return self._answer(message) if not (held or said.complete) else self._taken(message, held)

    async def _taken(self, message: Message, held: bool) -> None:
        if not held:
            await self._answer(message)
        if self._exchange.answer.complete:
            await self._read(self._layers.shadow)
            if not held:
                await self._read(self._layers.capture)

    async def _deliver(self, given: ServedAnswer) -> None:
        await self._answer({"type": "http.response.start", "status": given.status, "headers": given.headers})
        for part in given.parts[:-1]:
            await self._answer({"type": "http.response.body", "body": part, "more_body": True})
        last = given.parts[-1] if given.parts else b""
        await self._answer({"type": "http.response.body", "body": last, "more_body": False})

    async def _read(self, reader: ExchangeReader | None) -> None:
        if reader is not None:
            await reader.read(self._exchange, self.given)


def told_apart(part: bytes) -> bytes:
    """The part of a stream that tells of an error, in the gateway's words where the error is the server's."""
    said, newline, rest = part.partition(b"\n")
    try:
        code = from_json(said.removeprefix(b"data: "))["error"]["code"]
    except (ValueError, KeyError, TypeError):
        code = _SERVER_ERROR
    if isinstance(code, int) and code < _SERVER_ERROR:
        return part
    refused = Refused(_SERVER_ERROR, "The server failed; its log says more.", "internal_error")
    return b"data: " + refused.body() + newline + rest


def finished(headers: Iterable[Header], own: Iterable[Header]) -> list[Header]:
    """Headers as they go out: those of the app, those of the gateway, and the safe ones that are missing."""
    said = [*headers, *own]
    names = {name for name, _ in said}
    return [*said, *(header for header in _SAFE if header[0] not in names)]
