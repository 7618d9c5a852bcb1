"""A request that is refused: what the client is told, in the shape of OpenAI's errors."""

from __future__ import annotations

import json
from collections.abc import Sequence

Header = tuple[bytes, bytes]

_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error", 500: "server_error"}


class Refused(Exception):
    """Ends a request with `status`; `message` is one sentence, `code` what a program goes by."""

    def __init__(
        self, status: int, message: str, code: str, param: str | None = None, headers: Sequence[Header] = ()
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.param = param
        self.headers = tuple(headers)

    def body(self) -> bytes:
        """`{"error": {"message", "type", "param", "code"}}`; ASCII, so whatever was quoted can be sent."""
        kind = _TYPES.get(min(self.status, 500), "invalid_request_error")
        error = {"message": self.message, "type": kind, "param": self.param, "code": self.code}
        return json.dumps({"error": error}).encode()


class ClientGone(Exception):
    """The client left before its request was complete: there is no one to answer."""
