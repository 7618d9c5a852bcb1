"""A request that is refused: what the client is told, in the shape of OpenAI's errors."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Sequence

Header = tuple[bytes, bytes]

_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error", 500: "server_error"}
# The query of a page's address by which a browser is to ask for a key, although it has one.
SIGN_IN = "sign-in"
_OTHER_KEY = ("invalid_api_key", "insufficient_role")
_STYLE = (
    ":root{color-scheme:light dark}body{font:100%/1.55 system-ui,sans-serif;margin:15vh auto 0;max-width:36rem;"
    "padding:0 1.25rem;background:light-dark(#f5f7f8,#10171b);color:light-dark(#17232b,#e6edf1)}h1{font-size:1.6rem}"
    "a{color:light-dark(#1f5f7a,#7fc4e0)}"
)
_PAGE = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>No access - Salus</title>'
    '<meta name="viewport" content="width=device-width, initial-scale=1"><style>{style}</style></head>'
    "<body><main><h1>No access</h1><p>{message}</p>{sign_in}</main></body></html>"
)
# Nothing runs, nothing is loaded, and no other style applies.
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
PAGE_HEADERS: tuple[Header, ...] = (
    (b"content-type", b"text/html; charset=utf-8"),
    (
        b"content-security-policy",
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'none';"
        " frame-ancestors 'none'".encode(),
    ),
)


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

    def page(self) -> bytes:
        """The same for a person at a browser, who may sign in with another key where this one will not do."""
        sign_in = f'<p><a href="?{SIGN_IN}">Sign in with another key</a></p>' if self.code in _OTHER_KEY else ""
        return _PAGE.format(style=_STYLE, message=html.escape(self.message), sign_in=sign_in).encode()


class ClientGone(Exception):
    """The client left before its request was complete: there is no one to answer."""
