"""What a request shows of itself: its key, and whether a browser sent it for a page of ours or somebody else's."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

from actors.serve.gateway.config import GatewayConfig, is_loopback
from actors.serve.gateway.refusal import Header, Refused

Headers = Mapping[bytes, bytes]

CHALLENGE: Header = (b"www-authenticate", b"Bearer")
# A browser answers it by asking for a user name, which is not looked at, and a password, which is the key.
PAGE_CHALLENGE: Header = (b"www-authenticate", b'Basic realm="Salus", charset="UTF-8"')


class Credentials(NamedTuple):
    """A key, and whether it came as a browser sends it: with every request to us, whichever page asks for it."""

    token: str
    basic: bool


def credentials_of(headers: Headers) -> Credentials | None:
    """The key of a request: Bearer, Basic (as password), or X-API-Key; None where there is none to be read."""
    authorization = headers.get(b"authorization")
    if authorization is None:
        key = headers.get(b"x-api-key")
        return Credentials(key.decode("latin-1").strip(), basic=False) if key else None
    scheme, _, value = authorization.partition(b" ")
    if scheme.lower() == b"bearer":
        return Credentials(value.decode("latin-1").strip(), basic=False)
    if scheme.lower() == b"basic":
        return _basic(value.strip())
    return None


def is_json(headers: Headers) -> bool:
    """Whether the body is said to be JSON; a page of another origin cannot say so without asking first (CORS)."""
    return headers.get(b"content-type", b"").split(b";")[0].strip().lower() == b"application/json"


def check_same_origin(headers: Headers, config: GatewayConfig) -> None:
    """Refuse what no page of ours asked for: a browser adds its key to whatever any page sends here.

    Raises:
        Refused: (403) neither Sec-Fetch-Site nor Origin says that it comes from here.
    """
    site = headers.get(b"sec-fetch-site")
    origin = headers.get(b"origin", b"").decode("latin-1").lower()
    if site is not None:
        same = site == b"same-origin"
    else:
        host = headers.get(b"host", b"").decode("latin-1").lower()
        same = origin in config.page_origins or (bool(host) and _split(origin).netloc == host)
    if not same:
        raise Refused(403, "This request must come from a page of this server; send the key as Bearer.", "cross_origin")


def check_local(headers: Headers, config: GatewayConfig, changes: bool) -> None:
    """Without keys, refuse what another site's page had a browser on this machine send.

    Args:
        changes: whether the request does more than read; what is read, that page does not get to see.

    Raises:
        Refused: (403) the Host is not this machine's (a name that was made to point here), or the page is another's.
    """
    host = "//" + headers.get(b"host", b"localhost").decode("latin-1")
    if not is_loopback(_split(host).hostname or ""):
        raise Refused(403, "Without keys this server answers to localhost alone.", "wrong_host")
    origin = headers.get(b"origin")
    if changes and origin is not None and origin.decode("latin-1").lower() not in config.allowed_origins:
        check_same_origin(headers, config)


def _basic(value: bytes) -> Credentials | None:
    try:
        _, colon, password = base64.b64decode(value, validate=True).partition(b":")
    except ValueError:
        return None
    return Credentials(password.decode("utf-8", "replace"), basic=True) if colon else None


def _split(address: str) -> SplitResult:
    """The parts of an address; none where it is malformed."""
    try:
        return urlsplit(address)
    except ValueError:
        return urlsplit("")
