"""What may be reached, by which methods and with which role: a list; what is not on it is not there.

The served app has routes that swap adapters, pause or profile the engine, and new ones with every release: only what
is meant for others is named. Of `/v1` too: below it lie `/v1/load_lora_adapter`, and ways to generate whose fields the
limits on requests do not know.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from actors.serve.gateway.keys import ROLES, Role


@dataclass(frozen=True, slots=True)
class Route:
    """One route, or all below one. `template` is its name in metrics, which a client cannot choose."""

    template: str
    methods: frozenset[str]
    # The least role that may; None: nobody is asked for a key.
    role: Role | None
    # Opened in a browser, which asks its user for a key by itself when told to.
    page: bool = False
    # Asks the model for answers: the limits on tokens hold, and tokens are counted.
    generates: bool = False


_GET = frozenset({"GET"})
_POST = frozenset({"POST"})

_EXACT = {
    route.template: route
    for route in (
        Route("/health", _GET, None),
        Route("/ready", _GET, None),
        Route("/v1/models", _GET, "client"),
        Route("/v1/chat/completions", _POST, "client", generates=True),
        Route("/v1/completions", _POST, "client", generates=True),
        Route("/v1/feedback", _POST, "client"),
        Route("/openapi.json", _GET, "client"),
        Route("/metrics", _GET, "reviewer"),
    )
}
# One segment of a path that means the same to every router: nothing encoded, no ".", no "..".
_SEGMENT = r"/(?!\.{1,2}(?:/|\Z))[A-Za-z0-9_.:~-]+"
_BELOW = (
    (re.compile(rf"/v1/models{_SEGMENT}"), Route("/v1/models/{model}", _GET, "client")),
    (re.compile(rf"/review(?:{_SEGMENT})*/?"), Route("/review", _GET | _POST, "reviewer", page=True)),
    (re.compile(rf"/dashboard(?:{_SEGMENT})*/?"), Route("/dashboard", _GET, "reviewer", page=True)),
)


def find_route(path: str) -> Route | None:
    """The route a path belongs to; None where there is none for anybody."""
    found = _EXACT.get(path)
    if found is not None:
        return found
    return next((route for pattern, route in _BELOW if pattern.fullmatch(path)), None)


def may_use(role: Role, route: Route) -> bool:
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
