"""The page of answers: prompts with the answers of any two policies side by side; read-only."""

from __future__ import annotations

from typing import Annotated, Protocol

from fastapi import APIRouter, Query
from starlette.responses import Response

from actors.contract.records import Label, PromptSet
from actors.errors import SalusError
from actors.serve.pages.answers import answer, refusal
from actors.serve.pages.assets import Assets
from actors.serve.pages.compared import AnswersAsked, AnswersSource, Disagreement
from actors.serve.pages.explained import ExplanationSource

Name = Annotated[str, Query(max_length=200)]
MOST_NEAREST = 10


class AnswersPageSource(AnswersSource, ExplanationSource, Protocol):
    """What the page of answers asks for."""


def answers_router(source: AnswersPageSource) -> APIRouter:
    """Routes of the page: `/answers`, its files, `/answers/data`, and `/answers/prompt` of one prompt."""
    router = APIRouter()
    assets = Assets("answers", ("pages.css", "page.js", "answers.js"))
    assets.serve(router)

    @router.get("/answers", include_in_schema=False)
    async def page() -> Response:
        return assets.render("answers.html")

    @router.get("/answers/data")
    async def data(
        prompts: PromptSet = "validation",
        left: Name = "",
        right: Name = "",
        level: Annotated[int | None, Query(ge=0, le=3)] = None,
        method: Name = "",
        label: Label | None = None,
        disagreement: Disagreement = "any",
        page: Annotated[int, Query(ge=1, le=10**6)] = 1,
    ) -> Response:
        asked = AnswersAsked(
            prompts=prompts,
            left=left,
            right=right,
            level=level,
            method=method,
            label=label,
            disagreement=disagreement,
            page=page,
        )
        try:
            return answer(await source.answers(asked))
        except SalusError as error:
            return refusal(error)

    @router.get("/answers/prompt")
    async def prompt(
        prompt_id: Annotated[str, Query(min_length=1, max_length=200)],
        nearest: Annotated[int, Query(ge=0, le=MOST_NEAREST)] = 0,
    ) -> Response:
        try:
            return answer(await source.explained(prompt_id, nearest))
        except SalusError as error:
            return refusal(error)

    return router
