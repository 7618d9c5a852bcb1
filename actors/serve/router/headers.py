"""Which headers a request and its answer keep on their way through the router: all but those of a single hop."""

from __future__ import annotations

from collections.abc import Iterable

from multidict import CIMultiDict

from actors.serve.gateway.refusal import Header

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
