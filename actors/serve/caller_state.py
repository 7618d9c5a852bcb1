"""Who asks, and who answered: what the gateway and those behind it say to each other in the state of a request."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

# In scope["state"]: the key's name and role ("" on a route that wants none), and the request's id.
CALLER = "salus_caller"
ROLE = "salus_role"
REQUEST_ID = "salus_request_id"
# The policy that gave an answer, noted by who holds answers back: another one may be served when they go out.
ANSWERED_BY = "salus_answered_by"
# Everybody, where no keys are wanted or no gateway is in front.
ANONYMOUS = "anonymous"


def caller_name(scope: Mapping[str, Any]) -> str:
    """The name of the key that an ASGI request came with; `ANONYMOUS` where nobody asked for one."""
    name: str = (scope.get("state") or {}).get(CALLER) or ANONYMOUS
    return name


def answered_by(state: Mapping[str, Any], version: Callable[[], str]) -> str:
    """The policy whose answer begins now, unless it was made earlier and somebody has noted then by whom."""
    noted: str | None = state.get(ANSWERED_BY)
    return noted or version()
