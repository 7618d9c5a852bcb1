"""The review page: one answer at a time, labelled by a key press; the queue behind it is a port."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from actors.contract.records import Label, Record
from actors.errors import SalusError
from actors.serve.gateway.caller import caller_name
from actors.serve.pages.answers import answer, refusal
from actors.serve.pages.assets import Assets
from actors.serve.pages.review_queue import Comment, ItemKey, ReviewItem, ReviewProgress, ReviewQueue

# A page asks for a few, and for more where its reviewer has skipped many.
MOST = 200


class GivenLabel(Record):
    """What the page sends; whose it is comes from the request."""

    key: ItemKey
    label: Label
    comment: Comment = ""


class Next(Record):
    """The answers to show next, and how far the review is."""

    items: tuple[ReviewItem, ...]
    progress: ReviewProgress


class Undo(Record):
    """The answer whose label was taken back; None where there was none."""

    item: ReviewItem | None
    progress: ReviewProgress


def review_router(queue: ReviewQueue) -> APIRouter:
    """Routes of the page: `/review`, its files, `/review/next`, `/review/label`, `/review/undo`."""
    router = APIRouter()
    assets = Assets("review", ("pages.css", "page.js", "review.js"))
    assets.serve(router)

    @router.get("/review", include_in_schema=False)
    async def page(request: Request) -> Response:
        return assets.render("review.html", reviewer=caller_name(request.scope))

    @router.get("/review/next")
    async def next_items(request: Request, n: Annotated[int, Query(ge=1, le=MOST)] = 10) -> Response:
        reviewer = caller_name(request.scope)
        try:
            items = await queue.next(n, reviewer)
            return answer(Next(items=tuple(items), progress=await queue.progress(reviewer)))
        except SalusError as error:
            return refusal(error)

    @router.post("/review/label")
    async def label(request: Request, given: GivenLabel) -> Response:
        try:
            return answer(await queue.label(given.key, given.label, caller_name(request.scope), given.comment))
        except SalusError as error:
            return refusal(error)

    @router.post("/review/undo")
    async def undo(request: Request) -> Response:
        reviewer = caller_name(request.scope)
        try:
            item = await queue.undo(reviewer)
            return answer(Undo(item=item, progress=await queue.progress(reviewer)))
        except SalusError as error:
            return refusal(error)

    return router
