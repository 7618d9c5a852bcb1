"""The former policy back, in the registry and at every endpoint that follows it."""

from __future__ import annotations

import time
from collections.abc import Callable

from actors.errors import SalusError
from pipelines.registry.history import Change
from pipelines.registry.store import Registry
from pipelines.serving.status import EndpointStatus, endpoints

_LOOK_S = 0.1


def roll_back(registry: Registry, why: str, wait_s: float, say: Callable[[str], None]) -> Change:
    """Go back in the registry, and return once every endpoint that follows it serves the former policy.

    Raises:
        SalusError: there is none to go back to, or an endpoint refused it or did not follow in time (the registry
            has changed then).
    """
    began = time.monotonic()
    change = registry.rollback(why)
    waiting = {status.url for status in endpoints(registry.root)}
    while waiting:
        changes = len(registry.history.changes())
        there = {status.url: status for status in endpoints(registry.root)}
        for url in sorted(waiting & there.keys()):
            if there[url].changes >= changes:
                waiting.discard(url)
                _tell(there[url], change, time.monotonic() - began, say)
        # One that is gone has nothing to follow.
        waiting &= there.keys()
        if waiting and time.monotonic() - began > wait_s:
            raise SalusError(
                f"{', '.join(sorted(waiting))} did not follow within {wait_s:g} s, though {change.version} is current"
                f" in {registry.root}; see what salus serve says there."
            )
        time.sleep(_LOOK_S if waiting else 0)
    return change


def _tell(status: EndpointStatus, change: Change, seconds: float, say: Callable[[str], None]) -> None:
    if status.version != change.version:
        raise SalusError(f"{status.url} still serves {status.version}: {status.fault or 'another change came between'}")
    say(f"{change.version} is live again at {status.url} after {seconds:.1f} s")
