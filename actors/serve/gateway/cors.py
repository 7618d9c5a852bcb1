"""Which other origins' pages may call the API: none, unless named; and never with what a browser adds by itself."""

from __future__ import annotations

from functools import cache, partial
from typing import TYPE_CHECKING

from starlette.datastructures import Headers as RequestHeaders
from starlette.middleware.cors import CORSMiddleware

from actors.serve.gateway.caller import Headers, PublicRoute
from actors.serve.gateway.config import GatewayConfig
from actors.serve.gateway.refusal import Header, Refused

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

# What of an answer such a page may read.
_EXPOSED = ("x-salus-policy", "x-salus-guard", "x-request-id", "retry-after")
_PREFLIGHT = (b"access-control-allow-methods", b"access-control-allow-headers", b"access-control-max-age")


def with_cors(send: Send, headers: Headers, config: GatewayConfig) -> Send:
    """A `send` whose answers say by Starlette's rules which page may read them; the same one where no page may."""
    if not config.allowed_origins:
        return send
    return partial(_rules(config.allowed_origins, ()).send, send=send, request_headers=_request_headers(headers))


def is_preflight(method: str, headers: Headers) -> bool:
    """Whether a browser asks if a page of another origin may send a request."""
    return method == "OPTIONS" and b"origin" in headers and b"access-control-request-method" in headers


def preflight_headers(route: PublicRoute | None, headers: Headers, config: GatewayConfig) -> list[Header]:
    """What such a question is answered with, beside what `with_cors` adds.

    Starlette's middleware cannot answer it by itself. It knows no routes: their methods differ, and pages are for no
    other origin. Its answers have no safe headers, go past the metrics, and refuse in plain text.

    Raises:
        Refused: (403) the origin is not named in the settings, or the route is not for others' pages.
    """
    if route is not None and not route.page and config.allowed_origins:
        rules = _rules(config.allowed_origins, tuple(sorted(route.methods)))
        said = rules.preflight_response(_request_headers(headers))
        if said.status_code == 200:
            return [header for header in said.raw_headers if header[0] in _PREFLIGHT]
    raise Refused(403, "Pages of this origin may not call this server.", "cross_origin")


@cache
def _rules(origins: tuple[str, ...], methods: tuple[str, ...]) -> CORSMiddleware:
    # No credentials: such a page must bring its own key, as Bearer.
    return CORSMiddleware(_nothing, origins, methods, allow_headers=("*",), expose_headers=_EXPOSED, max_age=600)


async def _nothing(scope: Scope, receive: Receive, send: Send) -> None:
    """In the place of an app: the rules alone are used."""


def _request_headers(headers: Headers) -> RequestHeaders:
    return RequestHeaders(raw=list(headers.items()))
