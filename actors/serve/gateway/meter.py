"""What is measured of each request, and the port it is told to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from actors.serve.gateway.token_count import NOT_SAID, TokenCount

# Where an answer counts as slow depends on the model: from a refusal's millisecond to minutes of streaming.
SECONDS = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 180.0)
# Nobody's key: a request that was refused for it, or a free route.
NOBODY = "none"
# The client left before it was answered; nginx's number for it.
CLIENT_GONE = 499


class FinishedRequest(NamedTuple):
    """One request, when its answer is out. `route` is a template, `version` the policy that answered."""

    route: str
    method: str
    status: int
    seconds: float
    role: str = NOBODY
    version: str = NOBODY
    tokens: TokenCount = NOT_SAID

    @property
    def status_class(self) -> str:
        """As 2xx."""
        return f"{self.status // 100}xx"


class Meter(Protocol):
    """Is told of every request twice; must be quick and never raise."""

    def started(self, route: str) -> None: ...

    def finished(self, request: FinishedRequest) -> None: ...


class Meters:
    """Several meters as one."""

    def __init__(self, meters: Sequence[Meter]) -> None:
        self._meters = tuple(meters)

    def started(self, route: str) -> None:
        for meter in self._meters:
            meter.started(route)

    def finished(self, request: FinishedRequest) -> None:
        for meter in self._meters:
            meter.finished(request)
