"""Scripts, styles and templates of the pages: read from the package once, served under names that hold their hash."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib import resources

from fastapi import APIRouter
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import HTMLResponse, Response

HASH_HEX = 12
MEDIA = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}
# Nothing from elsewhere, nothing inline: text that got into a page as markup could neither run nor call a server.
# Both pages keep to it. The figures are SVG drawn by our own script. Plotly's script writes a style element at run
# time and would need style-src 'unsafe-inline' (and four megabytes).
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
SAFE = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}
FRESH = SAFE | {"Cache-Control": "no-store"}
# A name with a hash never holds anything else.
KEPT = SAFE | {"Cache-Control": "private, max-age=31536000, immutable"}


class Assets:
    """The static files of one page, for a route `page/assets/NAME`; their addresses are relative to the page's.

    So a page works under any prefix the application is mounted at.
    """

    def __init__(self, page: str, names: tuple[str, ...]) -> None:
        self._page = page
        self._names = {name: _hashed(name) for name in names}
        self._files = {hashed: name for name, hashed in self._names.items()}

    def render(self, template: str, **texts: str) -> HTMLResponse:
        """A template's page; texts are escaped, `asset` gives addresses of static files."""
        page = _templates().get_template(template).render(asset=self.address, **texts)
        return HTMLResponse(page, headers=FRESH)

    def address(self, name: str) -> str:
        """Where a file is, seen from its page."""
        return f"{self._page}/assets/{self._names[name]}"

    def serve(self, router: APIRouter) -> None:
        """Add the route of the files to a page's router."""

        @router.get(f"/{self._page}/assets/{{name}}", include_in_schema=False)
        async def asset(name: str) -> Response:
            known = self._files.get(name)
            if known is None:
                return Response(status_code=404, headers=FRESH)
            return Response(_content(known), media_type=MEDIA[known[known.rindex(".") :]], headers=KEPT)


@cache
def _content(name: str) -> bytes:
    return (resources.files("actors.serve.pages") / "static" / name).read_bytes()


def _hashed(name: str) -> str:
    stem, _, suffix = name.rpartition(".")
    return f"{stem}.{hashlib.sha256(_content(name)).hexdigest()[:HASH_HEX]}.{suffix}"


@cache
def _templates() -> Environment:
    return Environment(loader=PackageLoader("actors.serve.pages"), autoescape=True, undefined=StrictUndefined)
