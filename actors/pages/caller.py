"""Who asks: the caller that the gateway in front has put into the request's state."""

from __future__ import annotations

from typing import Protocol

from starlette.requests import Request

STATE_KEY = "salus_caller"
# Without a gateway in front there is nobody to name: a server on loopback, or a test.
NOBODY = "local"


class Caller(Protocol):
    """What pages need to know of a caller."""

    @property
    def name(self) -> str: ...


def caller_name(request: Request) -> str:
    """The caller's name; `NOBODY` where no gateway named one."""
    caller: Caller | None = request.scope.get("state", {}).get(STATE_KEY)
    return caller.name if caller is not None else NOBODY
