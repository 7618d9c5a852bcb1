"""The dashboard: what answers now, how it came to, how good it is, and what goes on; read-only."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path
from starlette.responses import HTMLResponse, Response

from actors.errors import SalusError
from actors.serve.pages.answers import Fault, answer, refusal
from actors.serve.pages.assets import FRESH, Assets
from actors.serve.pages.dashboard_data import Board, DashboardSource

# A page that was made for a file of its own: it brings its style, and runs and loads nothing.
PAGE_POLICY = "; ".join(
    (
        "default-src 'none'",
        "style-src 'unsafe-inline'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "sandbox",
    )
)


def dashboard_router(source: DashboardSource) -> APIRouter:
    """Routes of the page: `/dashboard`, its files, `/dashboard/data`, and the page of each decision."""
    router = APIRouter()
    assets = Assets("dashboard", ("pages.css", "page.js", "figures.js", "dashboard.js"))
    assets.serve(router)

    @router.get("/dashboard", include_in_schema=False)
    async def page() -> Response:
        return assets.render("dashboard.html")

    @router.get("/dashboard/data")
    async def data() -> Response:
        try:
            return answer(Board(data=await source.data(), traffic=await source.traffic()))
        except SalusError as error:
            return refusal(error)

    @router.get("/dashboard/decisions/{cycle}", include_in_schema=False)
    async def decision(cycle: Annotated[int, Path(ge=1, le=10**9)]) -> Response:
        try:
            found = await source.decision_page(cycle)
        except SalusError as error:
            return refusal(error)
        if found is None:
            return answer(Fault(error=f"The decision of cycle {cycle} has no page yet; load the dashboard again."), 404)
        return HTMLResponse(found, headers=FRESH | {"Content-Security-Policy": PAGE_POLICY})

    return router
