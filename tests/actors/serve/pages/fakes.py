"""The ports of the pages in memory, and an application that serves them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import httpx
from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from actors.contract.records import Label, Prompt
from actors.errors import SalusError
from actors.serve.gateway.caller import CALLER
from actors.serve.pages.answers_routes import answers_router
from actors.serve.pages.compared import AnswersAsked, AnswersShown, ComparedAnswers, ShownAnswer
from actors.serve.pages.dashboard_data import DashboardData, Traffic
from actors.serve.pages.dashboard_routes import dashboard_router
from actors.serve.pages.explained import Explanation, NearRow
from actors.serve.pages.review_queue import ReviewItem, ReviewProgress, ReviewQueue
from actors.serve.pages.review_routes import review_router

HOSTILE = (
    "<script>window.pwned = 1</script>",
    '<img src="x" onerror="window.pwned = 1">',
    "</textarea></div><svg onload=alert(1)>",
    '<a href="javascript:window.pwned=1">press</a>',
    "{{ 7 * 7 }} ${7 * 7} {% raw %}",
    "\u2028</script><script>alert(1)//",
)
TRAFFIC = Traffic(window_s=60, requests=90, requests_per_s=1.5, p50_s=0.21, p99_s=1.3, errors=2)
EMPTY = DashboardData(
    run=None,
    current=None,
    lineage=(),
    points=(),
    marks={},
    decisions=(),
    test=(),
    test_judged_by=None,
    publications=(),
    calibration=None,
    missing=HOSTILE,
)


class FakeQueue:
    """`ReviewQueue` over a list; whose label it is stays with it."""

    def __init__(self, texts: tuple[str, ...] = HOSTILE) -> None:
        self.items = [item(i, text) for i, text in enumerate(texts)]
        self.given: list[tuple[str, Label, str]] = []
        self.comments: dict[str, str] = {}

    async def next(self, n: int, reviewer: str) -> list[ReviewItem]:
        done = {key for key, _, _ in self.given}
        return [each for each in self.items if each.key not in done][:n]

    async def label(self, key: str, label: Label, reviewer: str, comment: str = "") -> ReviewProgress:
        if key not in {each.key for each in self.items}:
            raise SalusError("That answer is no longer in the queue; load the page again.")
        self.given.append((key, label, reviewer))
        self.comments[key] = comment
        return await self.progress(reviewer)

    async def undo(self, reviewer: str) -> ReviewItem | None:
        mine = [given for given in self.given if given[2] == reviewer]
        if not mine:
            return None
        self.given.remove(mine[-1])
        item = next(each for each in self.items if each.key == mine[-1][0])
        return item.model_copy(update={"comment": self.comments[item.key]})

    async def progress(self, reviewer: str) -> ReviewProgress:
        left = len(self.items) - len(self.given)
        return ReviewProgress(remaining=left, labelled=len(self.given), ties=0)


class FakeSource:
    """`DashboardSource` that shows what it was given."""

    def __init__(self, shown: DashboardData = EMPTY) -> None:
        self.shown = shown

    async def data(self) -> DashboardData:
        return self.shown

    async def traffic(self) -> Traffic | None:
        return TRAFFIC

    async def answers(self, asked: AnswersAsked) -> AnswersShown:
        shown = ShownAnswer(answer=HOSTILE[0], label="Accept", p=None, disagreement=None, cut_off=False)
        row = ComparedAnswers(prompt_id="p", prompt=HOSTILE[1], level=3, method="direct", left=shown, right=None)
        return AnswersShown(
            asked=asked, sets=("validation",), policies=("c1-kto",), methods=("direct",), total=1, pages=1, rows=(row,)
        )

    async def explained(self, prompt_id: str, nearest: int) -> Explanation:
        if prompt_id != "p":
            raise SalusError(f"/run has no prompt {prompt_id!r}.")
        asked = Prompt(
            prompt_id="p", base_prompt="b", prompt=HOSTILE[1], context=None, level=3, principle=None, method="direct",
            source="s", reference=None,
        )  # fmt: skip
        near = NearRow(
            cycle=1, kind="pairs", similarity=0.5, level=3, prompt=HOSTILE[0], texts=(("chosen", HOSTILE[1]),)
        )
        return Explanation(
            prompt=asked, prompts="validation", answers=(), trusted=(), decisions=(), nearest=(near,) * nearest
        )

    async def decision_page(self, cycle: int) -> str | None:
        return f"<!doctype html><title>Decision of cycle {cycle}</title>" if cycle == 1 else None


class Gateway:
    """Puts a caller into the state of each request, as the real one does."""

    def __init__(self, app: ASGIApp, caller: str) -> None:
        self._app = app
        self._caller = caller

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope.setdefault("state", {})[CALLER] = self._caller
        await self._app(scope, receive, send)


def item(number: int, text: str) -> ReviewItem:
    return ReviewItem(
        key=f"{number:032x}",
        prompt=text,
        answer=text,
        level=number % 4,
        method="role_play",
        policy="c1-kto",
        judge="ext",
        judged="Accept",
        p={"Accept": 0.5, "Caution": 0.4, "Refuse": 0.1},
        disagreement=None,
        why="The judge is undecided.",
    )


def app_of(queue: ReviewQueue | None = None, source: FakeSource | None = None, prefix: str = "") -> FastAPI:
    app = FastAPI()
    app.include_router(review_router(queue or FakeQueue()), prefix=prefix)
    app.include_router(dashboard_router(source or FakeSource()), prefix=prefix)
    app.include_router(answers_router(source or FakeSource()), prefix=prefix)
    return app


def ask(app: ASGIApp, work: Callable[[httpx.AsyncClient], Coroutine[Any, Any, httpx.Response]]) -> httpx.Response:
    """One request to an application in this process."""

    async def asked() -> httpx.Response:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://salus.test") as client:
            return await work(client)

    return asyncio.run(asked())


def get(app: ASGIApp, path: str) -> httpx.Response:
    return ask(app, lambda client: client.get(path))


def post(app: ASGIApp, path: str, body: object) -> httpx.Response:
    return ask(app, lambda client: client.post(path, json=body))
