"""Which other origins' pages may call the API: none, unless named; and never with what a browser adds by itself."""

from __future__ import annotations

from collections.abc import Mapping

from actors.serve.gateway.caller import PublicRoute
from actors.serve.gateway.config import GatewayConfig
from actors.serve.gateway.refusal import Header, Refused

Headers = Mapping[bytes, bytes]
# What of an answer such a page may read.
_EXPOSED = b"x-salus-policy, x-salus-guard, x-request-id, retry-after"


def cors_headers(headers: Headers, config: GatewayConfig) -> list[Header]:
    """What every answer says of it. No Allow-Credentials: such a page must bring its own key, as Bearer."""
    if not config.allowed_origins:
        return []
    # Also where the origin is another's: no cache may answer one origin with what was said to another.
    vary: Header = (b"vary", b"Origin")
    origin = _origin(headers)
    if origin not in config.allowed_origins:
        return [vary]
    allowed: Header = (b"access-control-allow-origin", origin.encode())
    return [allowed, vary, (b"access-control-expose-headers", _EXPOSED)]


def is_preflight(method: str, headers: Headers) -> bool:
    """Whether a browser asks if a page of another origin may send a request."""
    return method == "OPTIONS" and b"origin" in headers and b"access-control-request-method" in headers


def preflight_headers(route: PublicRoute | None, headers: Headers, config: GatewayConfig) -> list[Header]:
    """What such a question is answered with, beside `cors_headers`.

    Raises:
        Refused: (403) the origin is not named in the settings, or the route is not for others' pages.
    """
    if route is None or route.page or _origin(headers) not in config.allowed_origins:
        raise Refused(403, "Pages of this origin may not call this server.", "cross_origin")
    return [
        (b"access-control-allow-methods", ", ".join(sorted(route.methods)).encode()),
        # The star does not include the first one.
        (b"access-control-allow-headers", b"authorization, *"),
        (b"access-control-max-age", b"600"),
    ]


def _origin(headers: Headers) -> str:
    return headers.get(b"origin", b"").decode("latin-1").lower()
