"""Who asks: what the gateway puts into the state of a request, and those behind it read there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# In scope["state"]: the key's name and role ("" on a route that wants none), and the request's id.
CALLER = "salus_caller"
ROLE = "salus_role"
REQUEST_ID = "salus_request_id"
# Everybody, where no keys are wanted or no gateway is in front.
ANONYMOUS = "anonymous"


def caller_name(scope: Mapping[str, Any]) -> str:
    """The name of the key that an ASGI request came with; `ANONYMOUS` where nobody asked for one."""
    name: str = (scope.get("state") or {}).get(CALLER) or ANONYMOUS
    return name
