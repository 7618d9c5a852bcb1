"""Who a caller is: what a request shows of itself, the routes there are and which role may use them.

The served app has routes that swap adapters, pause or profile the engine, and new ones with every release. So only
what is meant for others is named. That holds for `/v1` too: below it are `/v1/load_lora_adapter`, and ways to generate
whose fields the limits on requests do not know.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import SplitResult, urlsplit

from actors.serve.api.requests import AnswerKind
from actors.serve.gateway.config import GatewayConfig, is_loopback
from actors.serve.gateway.keys import ROLES, Role
from actors.serve.gateway.refusal import Header, Refused

# In scope["state"]: the key's name and role ("" on a route that wants none), and the request's id.
CALLER = "salus_caller"
ROLE = "salus_role"
REQUEST_ID = "salus_request_id"
# Everybody, where no keys are wanted or no gateway is in front.
ANONYMOUS = "anonymous"


def caller_name(scope: Mapping[str, Any]) -> str:
    """The name of the key that an ASGI request came with; `ANONYMOUS` where none was asked for."""
    name: str = (scope.get("state") or {}).get(CALLER) or ANONYMOUS
    return name


@dataclass(frozen=True, slots=True)
class PublicRoute:
    """One route, or all below one. `template` is its name in metrics, which a client cannot choose."""

    template: str
    methods: frozenset[str]
    # The least role that may; None: no key is asked for.
    role: Role | None
    # Opened in a browser, which asks its user for a key by itself when told to.
    page: bool = False
    # What the model is asked for, if it is: the limits on tokens hold, and tokens are counted.
    asks: AnswerKind | None = None

    @property
    def generates(self) -> bool:
        """Whether it asks the model for answers."""
        return self.asks is not None


_GET = frozenset({"GET"})
_POST = frozenset({"POST"})

_EXACT = {
    route.template: route
    for route in (
        PublicRoute("/health", _GET, None),
        PublicRoute("/ready", _GET, None),
        PublicRoute("/v1/models", _GET, "client"),
        PublicRoute("/v1/chat/completions", _POST, "client", asks="chat"),
        PublicRoute("/v1/completions", _POST, "client", asks="completion"),
        # What was asked before is kept nowhere, so there is nothing below it.
        PublicRoute("/v1/responses", _POST, "client", asks="response"),
        PublicRoute("/v1/feedback", _POST, "client"),
        PublicRoute("/openapi.json", _GET, "client"),
        PublicRoute("/metrics", _GET, "reviewer"),
    )
}
# One segment of a path that means the same to every router: nothing encoded, no ".", no "..".
_SEGMENT = r"/(?!\.{1,2}(?:/|\Z))[A-Za-z0-9_.:~-]+"
_BELOW = (
    (re.compile(rf"/v1/models{_SEGMENT}"), PublicRoute("/v1/models/{model}", _GET, "client")),
    (re.compile(rf"/review(?:{_SEGMENT})*/?"), PublicRoute("/review", _GET | _POST, "reviewer", page=True)),
    (re.compile(rf"/answers(?:{_SEGMENT})*/?"), PublicRoute("/answers", _GET, "reviewer", page=True)),
    (re.compile(rf"/dashboard(?:{_SEGMENT})*/?"), PublicRoute("/dashboard", _GET, "reviewer", page=True)),
)


def public_routes() -> tuple[PublicRoute, ...]:
    """Every route there is."""
    return (*_EXACT.values(), *(route for _, route in _BELOW))


def find_route(path: str) -> PublicRoute | None:
    """The route a path belongs to; None where there is none for any caller."""
    found = _EXACT.get(path)
    if found is not None:
        return found
    return next((route for pattern, route in _BELOW if pattern.fullmatch(path)), None)


def may_use(role: Role, route: PublicRoute) -> bool:
    """Whether a role may use a route."""
    return route.role is None or ROLES.index(role) >= ROLES.index(route.role)


def route_path(scope: Mapping[str, Any]) -> str:
    """The path below where the app is mounted, found as Starlette finds it, so that both mean the same route."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    if not root or not path.startswith(root):
        return path
    below = path[len(root) :]
    return below if below == "" or below.startswith("/") else path


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
