"""The client of the pages' actor: all ports of the pages over the handle of whatever implements them."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, TypeVar

from ray.exceptions import RayActorError, RayTaskError

from actors.contract.records import Label
from actors.errors import SalusError, own_error
from actors.serve.pages.compared import AnswersAsked, AnswersShown
from actors.serve.pages.dashboard_data import DashboardData, Traffic
from actors.serve.pages.explained import Explanation
from actors.serve.pages.review_queue import ReviewItem, ReviewProgress

Reply = TypeVar("Reply")


class PagesClient:
    """`ReviewQueue`, `DashboardSource` and `AnswersPageSource` of an actor; its faults arrive as their sentences."""

    def __init__(self, pages: Any) -> None:
        self._pages = pages

    async def next(self, n: int, reviewer: str) -> list[ReviewItem]:
        items: list[ReviewItem] = await _asked(self._pages.next.remote(n, reviewer))
        return items

    async def label(self, key: str, label: Label, reviewer: str, comment: str = "") -> ReviewProgress:
        progress: ReviewProgress = await _asked(self._pages.label.remote(key, label, reviewer, comment))
        return progress

    async def undo(self, reviewer: str) -> ReviewItem | None:
        item: ReviewItem | None = await _asked(self._pages.undo.remote(reviewer))
        return item

    async def progress(self, reviewer: str) -> ReviewProgress:
        progress: ReviewProgress = await _asked(self._pages.progress.remote(reviewer))
        return progress

    async def data(self) -> DashboardData:
        data: DashboardData = await _asked(self._pages.data.remote())
        return data

    async def decision_page(self, cycle: int) -> str | None:
        page: str | None = await _asked(self._pages.decision_page.remote(cycle))
        return page

    async def answers(self, asked: AnswersAsked) -> AnswersShown:
        shown: AnswersShown = await _asked(self._pages.answers.remote(asked))
        return shown

    async def explained(self, prompt_id: str, nearest: int) -> Explanation:
        found: Explanation = await _asked(self._pages.explained.remote(prompt_id, nearest))
        return found

    async def traffic(self) -> Traffic | None:
        traffic: Traffic | None = await _asked(self._pages.traffic.remote())
        return traffic


async def _asked(reply: Awaitable[Reply]) -> Reply:
    try:
        return await reply
    except RayTaskError as error:
        # Ray raises its own kind of error around what the actor raised.
        if (said := own_error(error)) is not None:
            raise said from error
        raise
    except RayActorError as error:
        raise SalusError("The actor behind this page is not up; try again in a minute.") from error
