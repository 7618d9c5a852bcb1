"""Whether a request is let in: whose key it has, what that may reach, where it comes from, and how often."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from actors.serve.gateway.caller import (
    ANONYMOUS,
    CHALLENGE,
    PAGE_CHALLENGE,
    Headers,
    PublicRoute,
    check_local,
    check_same_origin,
    credentials_of,
    is_json,
    may_use,
)
from actors.serve.gateway.config import GatewayConfig
from actors.serve.gateway.keys import Caller, KeyRing
from actors.serve.gateway.refusal import SIGN_IN, Refused


class Pace:
    """At most `burst` requests at once, and `per_minute` a minute from then on; None: as many as come.

    It belongs to one event loop. There are no more buckets than keys.
    """

    def __init__(self, per_minute: float | None, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_s = None if per_minute is None else per_minute / 60.0
        self._burst = float(burst)
        self._clock = clock
        # By name: what was left, and when (s).
        self._buckets: dict[str, tuple[float, float]] = {}

    def wait_s(self, name: str) -> float:
        """Take one from a key's bucket; 0 where there was one, else the seconds until there is."""
        if self._per_s is None:
            return 0.0
        now_s = self._clock()
        left, then_s = self._buckets.get(name, (self._burst, now_s))
        left = min(self._burst, left + (now_s - then_s) * self._per_s)
        granted = left >= 1.0
        self._buckets[name] = (left - 1.0 if granted else left, now_s)
        return 0.0 if granted else (1.0 - left) / self._per_s


# Who everybody is where no keys are wanted.
ANYBODY = Caller(ANONYMOUS, "admin")
# Tells Ray Serve which adapter to load before the app sees the request; it fails where there are none.
_ADAPTER_HEADER = b"serve_multiplexed_model_id"


class Admission:
    """The rules, in the order in which they are asked; the first that refuses ends it."""

    def __init__(self, config: GatewayConfig, keys: KeyRing, clock: Callable[[], float] = time.monotonic) -> None:
        self._config = config
        self._keys = keys
        self._pace = Pace(config.requests_per_minute, config.burst, clock)

    def admit(self, method: str, route: PublicRoute | None, headers: Headers, query: bytes = b"") -> Caller | None:
        """Who asks; None on a route that needs no key, where none, or no good one, was sent.

        Without a good key the answer is the same for every route but those, whether it is there or not.

        Raises:
            Refused: 401, 404, 405, 403, 415, 400 or 429.
        """
        if route is not None and route.role is None and method in route.methods:
            return self._known(method, route, headers)
        caller, basic = self._identify(method, route, headers)
        found = _reachable(method, route)
        if not may_use(caller.role, found):
            sentence = f"The key {caller.name} has the role {caller.role}; this address needs the role {found.role}."
            if basic and found.page and query == SIGN_IN.encode():
                # A browser keeps a key that was taken once. It forgets it, and asks its user, where it is refused.
                raise Refused(401, sentence, "invalid_api_key", headers=[PAGE_CHALLENGE])
            raise Refused(403, sentence, "insufficient_role")
        if method != "GET":
            self._check_change(headers, basic)
        if any(name.replace(b"-", b"_") == _ADAPTER_HEADER for name in headers):
            raise Refused(400, "A request may not choose an adapter; choose the model by name.", "invalid_header")
        self._check_pace(caller)
        return caller

    def _identify(self, method: str, route: PublicRoute | None, headers: Headers) -> tuple[Caller, bool]:
        """Who asks, and whether the key came by Basic."""
        if self._config.open:
            check_local(headers, self._config, changes=method != "GET")
            return ANYBODY, False
        shown = credentials_of(headers)
        caller = self._keys.identify(shown.token) if shown is not None else None
        if shown is None or caller is None:
            page = route is not None and route.page
            challenge = PAGE_CHALLENGE if page else CHALLENGE
            how = "Sign in with a valid API key as password, or send it" if page else "Send a valid API key"
            sentence = f"{how} as Authorization: Bearer KEY." if shown is None else "Invalid API key."
            raise Refused(401, sentence, "invalid_api_key", headers=[challenge])
        return caller, shown.basic

    def _known(self, method: str, route: PublicRoute, headers: Headers) -> Caller | None:
        try:
            return self._identify(method, route, headers)[0]
        except Refused:
            return None

    def _check_change(self, headers: Headers, basic: bool) -> None:
        if basic:
            check_same_origin(headers, self._config)
        if not is_json(headers):
            # For a form of another site's page this is the only thing it cannot say.
            raise Refused(403 if basic else 415, "Send the body as application/json.", "unsupported_media_type")

    def _check_pace(self, caller: Caller) -> None:
        wait_s = self._pace.wait_s(caller.name)
        if wait_s > 0:
            retry = (b"retry-after", str(math.ceil(wait_s)).encode())
            limit = f"{self._config.requests_per_minute:g} requests a minute"
            sentence = f"The key {caller.name} may make {limit}; ask again in {math.ceil(wait_s)} s."
            raise Refused(429, sentence, "rate_limit_exceeded", headers=[retry])


def _reachable(method: str, route: PublicRoute | None) -> PublicRoute:
    if route is None:
        raise Refused(404, "There is no such route here.", "unknown_url")
    if method not in route.methods:
        allowed = ", ".join(sorted(route.methods))
        raise Refused(405, f"This route takes {allowed}.", "method_not_allowed", headers=[(b"allow", allowed.encode())])
    return route
