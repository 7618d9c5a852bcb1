"""What Serve's own HTTP servers, in its proxy and in its replicas, do beyond Ray's settings.

Ray calls `protect` in each of these processes, before it starts the server, where `proxy/environment.py` has set the
variable that names it.
"""

from __future__ import annotations

from asyncio import TimerHandle
from typing import TYPE_CHECKING, Any

from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from uvicorn.config import HTTP_PROTOCOLS
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from actors.serve.proxy.haproxy_config import HEADER_TIMEOUT_S

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

_ROUTES = "/-/routes"
# As uvicorn imports it.
_PROTOCOL = f"{__name__}:HeaderTimeoutProtocol"


def protect() -> list[Middleware]:
    """Bound the time of a request's header in this process; the layers before Serve's own app."""
    HTTP_PROTOCOLS["auto"] = _PROTOCOL
    return [Middleware(HiddenRoutes)]


class HiddenRoutes:
    """Answers 404 where Serve would tell the names and paths of its applications."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].removeprefix(scope.get("root_path", "")) == _ROUTES:
            await PlainTextResponse("Not Found", 404)(scope, receive, send)
        else:
            await self._app(scope, receive, send)


class HeaderTimeoutProtocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
    """uvicorn's HTTP protocol, which waits for a request's header for ever otherwise."""

    timeout_header_s: float = HEADER_TIMEOUT_S

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._deadline: TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._wait_or_not()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._wait_or_not()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        # From here on uvicorn waits for its own time for the next request's first byte.
        self._stop()

    def _wait_or_not(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(self.timeout_header_s, self.transport.abort)

    def _stop(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
