"""The dashboard: what answers now, how it came to, how good it is, and what goes on; read-only."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from actors.errors import SalusError
from actors.serve.pages.answers import answer, refusal
from actors.serve.pages.assets import Assets
from actors.serve.pages.dashboard_data import Board, DashboardSource


def dashboard_router(source: DashboardSource) -> APIRouter:
    """Routes of the page: `/dashboard`, its files, and `/dashboard/data`."""
    router = APIRouter()
    assets = Assets("dashboard", ("pages.css", "figures.js", "dashboard.js"))
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

    return router
