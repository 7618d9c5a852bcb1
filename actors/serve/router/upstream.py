"""The connections of a router to its models' applications: which headers go on, requests out, answers passed on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import ClientConnectionError, ClientError, ClientResponse, ClientSession, ClientTimeout, DummyCookieJar
from aiohttp import TCPConnector as Connector
from multidict import CIMultiDict
from yarl import URL

from actors.serve.gateway.refusal import Header, Refused

if TYPE_CHECKING:
    from starlette.types import Send

# RFC 9110, 7.6.1: of one connection, not of the message.
_HOP = frozenset(
    {
        *(b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection"),
        *(b"te", b"trailer", b"transfer-encoding", b"upgrade"),
    }
)
# The body is whole here, and sent with a length of its own; waiting for a go-ahead would only cost a round trip.
_REQUEST_OWN = frozenset({b"content-length", b"expect"})
# The server in front of the router says its own; the request's id is the same in both.
_ANSWER_OWN = frozenset({b"date", b"server", b"x-request-id"})


def request_headers(headers: Iterable[Header]) -> CIMultiDict[str]:
    """A client's headers as they go on to the application, its key and its Host among them."""
    return CIMultiDict((_text(name), _text(value)) for name, value in _kept(headers, _REQUEST_OWN))


def answer_headers(headers: Iterable[Header]) -> list[Header]:
    """An application's headers as they go back to the client."""
    return [(name.lower(), value) for name, value in _kept(headers, _ANSWER_OWN)]


def without_body(headers: Iterable[Header]) -> list[Header]:
    """Headers of a request that has a body, for one in its place that has none."""
    return [header for header in headers if not header[0].startswith(b"content-")]


def _kept(headers: Iterable[Header], own: frozenset[bytes]) -> list[Header]:
    given = list(headers)
    named = {
        option.strip().lower() for name, value in given if name.lower() == b"connection" for option in value.split(b",")
    }
    return [header for header in given if header[0].lower() not in _HOP | own | named]


def _text(value: bytes) -> str:
    """As aiohttp takes it, which writes UTF-8."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


logger = logging.getLogger("ray.serve")

# A router says it of a path that belongs to an application, which the proxy in between does not know yet, or any more.
MISDIRECTED = 421
# An answer may take as long as it likes; a connection over loopback may not.
_TIMEOUT = ClientTimeout(total=None, sock_connect=10)
# Sooner than any proxy closes an idle connection: a request must not meet it closing.
_IDLE_S = 4.0
# Pauses (s) before each further try, of which there are so many; the proxy is at most reading its new settings.
_AGAIN_S = (0.02, 0.1, 0.3, 1.0)


@dataclass(frozen=True)
class Ask:
    """One request as it goes on: `path` with its query, headers as the client sent them, the whole body."""

    method: str
    path: str
    headers: tuple[Header, ...]
    body: bytes = b""


@dataclass(frozen=True)
class UpstreamReply:
    """An answer that was read whole."""

    status: int
    headers: list[Header]
    body: bytes


class Unreachable(Exception):
    """No application answered, and no part of an answer came."""


class Upstream:
    """One application, at `base` and its prefix. Life: (relay | fetch)* -> close.

    A request is sent again where no connection came about, or the connection ended before a single byte of an
    answer: what HAProxy does too (`RAY_SERVE_HAPROXY_RETRY_ON`), and such an answer no client has seen.
    """

    def __init__(self, base: str, prefix: str) -> None:
        self._root = f"{base}{prefix}"
        # Of its own, and made with the application. A proxy that was reloaded for it leaves older connections to a
        # process that does not know it.
        self._session = ClientSession(
            connector=Connector(limit=0, keepalive_timeout=_IDLE_S),
            timeout=_TIMEOUT,
            auto_decompress=False,
            cookie_jar=DummyCookieJar(),
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        )

    async def relay(self, ask: Ask, send: Send) -> int:
        """Pass the answer on as it comes; its status.

        Raises:
            Unreachable: no application answered; nothing was sent to the client.
            ConnectionError: the answer broke off; what was sent of it must not be ended as if it were whole.
        """
        async with self._answered(ask) as reply:
            start = {
                "type": "http.response.start",
                "status": reply.status,
                "headers": answer_headers(reply.raw_headers),
            }
            await send(start)
            try:
                async for part in reply.content.iter_any():
                    await send({"type": "http.response.body", "body": part, "more_body": True})
            except ClientError as error:
                raise ConnectionError(f"the answer of {self._root} broke off: {error}") from error
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return reply.status

    async def fetch(self, ask: Ask) -> UpstreamReply:
        """The whole answer.

        Raises:
            Unreachable: no application answered, or not to the end.
        """
        async with self._answered(ask) as reply:
            try:
                return UpstreamReply(reply.status, answer_headers(reply.raw_headers), await reply.read())
            except ClientError as error:
                raise Unreachable(str(error)) from error

    async def close(self) -> None:
        """End its connections."""
        await self._session.close()

    @asynccontextmanager
    async def _answered(self, ask: Ask) -> AsyncIterator[ClientResponse]:
        """The answer from its first byte on; however this is left, its connection is ended or free again."""
        reply = await self._first(ask)
        try:
            yield reply
        finally:
            # Back into the pool where it was read to its end; else closed, which ends the answer over there.
            reply.release() if reply.content.at_eof() else reply.close()

    async def _first(self, ask: Ask) -> ClientResponse:
        fault = ""
        for pause_s in (0.0, *_AGAIN_S):
            await asyncio.sleep(pause_s)
            try:
                reply = await self._session.request(
                    ask.method,
                    URL(self._root + ask.path, encoded=True),
                    headers=request_headers(ask.headers),
                    data=ask.body or None,
                    allow_redirects=False,
                )
            except ClientConnectionError as error:
                fault = str(error) or type(error).__name__
                continue
            except ClientError as error:
                # What came was no HTTP.
                raise Unreachable(str(error)) from error
            if reply.status != MISDIRECTED:
                return reply
            # Not into the pool again: behind this connection is the wrong process.
            reply.close()
            fault = "the proxy does not know it"
        logger.warning("The application at %s cannot be reached: %s", self._root, fault)
        raise Unreachable(fault)


def unreachable() -> Refused:
    """What a client is told then."""
    return Refused(
        503, "The model cannot be reached; ask again.", "model_unavailable", headers=[(b"retry-after", b"1")]
    )


class Upstreams:
    """Life: to* -> close. One event loop."""

    def __init__(self, base: str) -> None:
        """`base`: the endpoint's address as it is reached from here."""
        self._base = base
        self._known: dict[str, tuple[str, Upstream]] = {}

    async def to(self, model: str, prefix: str) -> Upstream:
        """The way to a model's application; the way to its former one is no longer used."""
        known = self._known.get(model)
        if known is not None and known[0] == prefix:
            return known[1]
        upstream = Upstream(self._base, prefix)
        self._known[model] = (prefix, upstream)
        if known is not None:
            await known[1].close()
        return upstream

    async def close(self) -> None:
        """End all connections."""
        while self._known:
            _, (_, upstream) = self._known.popitem()
            await upstream.close()
