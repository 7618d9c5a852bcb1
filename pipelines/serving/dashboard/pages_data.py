"""What review page and dashboard ask for: one plain class over a run folder, labels and a registry.

All ports of `actors.serve.pages` in one, so that the endpoint's replicas can share one actor:
`pipelines.serving.dashboard.actor` makes that actor, asked through `actors.serve.pages.client`.
"""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import Protocol

from pydantic import BaseModel, ConfigDict, Field

from actors.contract.records import LABELS, Label
from actors.contract.run_folder import RunFolder
from actors.errors import SalusError
from actors.serve.pages.compared import AnswersAsked, AnswersShown
from actors.serve.pages.dashboard_data import DashboardData, Traffic
from actors.serve.pages.explained import Explanation
from actors.serve.pages.review_queue import ReviewItem, ReviewProgress
from pipelines.feedback.control.queue import ControlPlace, ControlQueue
from pipelines.feedback.review.agreed import agreement_of
from pipelines.feedback.review.consensus import Standing, Vote, majority, settle
from pipelines.feedback.review.queue import QueueConfig, Queued
from pipelines.feedback.review.run_queue import RunQueue
from pipelines.feedback.review.stored import open_labels
from pipelines.runs.finished.explain import deployed_model, explain
from pipelines.serving.dashboard.compared import compared_answers
from pipelines.serving.dashboard.source import find_page, read_dashboard


class TrafficMeter(Protocol):
    """Who counts the endpoint's requests."""

    async def traffic(self) -> Traffic | None:
        """The latest figures; None where there are none."""


class PagesDataConfig(BaseModel):
    """How review and dashboard are kept."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    queue: QueueConfig = QueueConfig()
    reviewers: int = Field(
        1, ge=1, description="labels an answer gets before it leaves the queue; a tie asks one reviewer more"
    )
    fresh_s: float = Field(5.0, ge=0, description="the dashboard's data is read again when it is older")


class PagesData:
    """`ReviewQueue`, `DashboardSource`, `AnswersPageSource` of one run.

    Life: any calls, in any order, from one event loop.

    Files are read in threads, one at a time, so that the loop never waits for a disk.

    Args:
        run: the run folder, finished or going on.
        labels: where people's labels are kept, a folder or an address; made with the first of them.
        registry: of published policies, if there is one.
        meter: of the endpoint's traffic, if it is counted.
        config: see `PagesDataConfig`.
    """

    def __init__(
        self,
        run: Path,
        labels: Path,
        registry: Path | None = None,
        meter: TrafficMeter | None = None,
        config: PagesDataConfig | None = None,
    ) -> None:
        self._config = config or PagesDataConfig()
        self._run = run
        self._registry = registry
        self._meter = meter
        self._queue = RunQueue(RunFolder(run), self._config.queue)
        self._control = ControlQueue(RunFolder(run))
        self._log = open_labels(labels)
        # Of queue, labels and data: threads of several calls must not meet there.
        self._lock = threading.Lock()
        self._board: tuple[float, DashboardData] | None = None

    # The review's port.

    async def next(self, n: int, reviewer: str) -> list[ReviewItem]:
        return await asyncio.to_thread(self._next, n, reviewer)

    async def label(self, key: str, label: Label, reviewer: str, comment: str = "") -> ReviewProgress:
        return await asyncio.to_thread(self._label, key, label, reviewer, comment)

    async def undo(self, reviewer: str) -> ReviewItem | None:
        return await asyncio.to_thread(self._undo, reviewer)

    async def progress(self, reviewer: str) -> ReviewProgress:
        return await asyncio.to_thread(self._progress, reviewer)

    # The dashboard's port.

    async def data(self) -> DashboardData:
        return await asyncio.to_thread(self._data)

    async def decision_page(self, cycle: int) -> str | None:
        return await asyncio.to_thread(find_page, RunFolder(self._run), cycle)

    async def answers(self, asked: AnswersAsked) -> AnswersShown:
        return await asyncio.to_thread(compared_answers, RunFolder(self._run), asked)

    async def explained(self, prompt_id: str, nearest: int) -> Explanation:
        return await asyncio.to_thread(self._explained, prompt_id, nearest)

    async def traffic(self) -> Traffic | None:
        return await self._meter.traffic() if self._meter is not None else None

    def _explained(self, prompt_id: str, nearest: int) -> Explanation:
        folder = RunFolder(self._run)
        return explain(folder, prompt_id, nearest, deployed_model(folder) if nearest else None)

    def _next(self, n: int, reviewer: str) -> list[ReviewItem]:
        with self._lock:
            return [_item(place) for place in self._open(self._log.standing(), reviewer)[:n]]

    def _label(self, key: str, label: Label, reviewer: str, comment: str) -> ReviewProgress:
        with self._lock:
            place = next((each for each in self._places() if each.key == key), None)
            if place is None:
                raise SalusError("That answer is no longer in the queue; load the page again.")
            self._log.add(place.row.prompt, place.row.answer, label, reviewer, place.drawn, comment)
        return self._progress(reviewer)

    def _undo(self, reviewer: str) -> ReviewItem | None:
        with self._lock:
            vote = self._log.undo(reviewer)
            if vote is None:
                return None
            place = next((each for each in self._places() if each.key == vote.key), None)
            item = _item(place) if place is not None else _item_of_vote(vote)
            return item.model_copy(update={"comment": vote.comment})

    def _progress(self, reviewer: str) -> ReviewProgress:
        with self._lock:
            standing = self._log.standing()
            settled = settle(standing)
            return ReviewProgress(
                remaining=len(self._open(standing, reviewer)),
                labelled=len(settled.gold) + len(settled.ties),
                ties=len(settled.ties),
                agreement=agreement_of(standing, reviewer),
            )

    def _places(self) -> list[Queued]:
        """The queue `control` first, as a cycle waits for it; then what tells most, each answer once."""
        places = {place.key: place for place in self._control.places()}
        for place in self._queue.places():
            places.setdefault(place.key, place)
        return list(places.values())

    def _open(self, standing: Standing, reviewer: str) -> list[Queued]:
        """The places this reviewer should still label, in order."""
        return [each for each in self._places() if self._wants(standing.votes(each.key), reviewer)]

    def _wants(self, votes: list[Vote], reviewer: str) -> bool:
        if any(vote.reviewer == reviewer for vote in votes):
            return False
        return len(votes) < self._config.reviewers or majority(votes) is None

    def _data(self) -> DashboardData:
        with self._lock:
            now = time.monotonic()
            if self._board is None or now - self._board[0] > self._config.fresh_s:
                self._board = now, read_dashboard(self._run, self._registry, self._agreed)
            return self._board[1]

    def _agreed(self) -> set[str]:
        """Answers on which reviewers agree."""
        return set(settle(self._log.standing()).labels())


def _item(place: Queued) -> ReviewItem:
    row = place.row
    return ReviewItem(
        key=place.key,
        prompt=row.prompt,
        answer=row.answer,
        level=row.level,
        method=row.method,
        policy=row.policy or None,
        judge=row.judge,
        judged=row.label,
        p=dict(zip(LABELS, row.p, strict=True)) if row.p is not None else None,
        disagreement=row.disagreement,
        why=place.why(),
        queue="control" if isinstance(place, ControlPlace) else "judged",
    )


def _item_of_vote(vote: Vote) -> ReviewItem:
    """An answer that has left the queue since it was labelled; only its texts are known."""
    return ReviewItem(
        key=vote.key,
        prompt=vote.prompt,
        answer=vote.answer,
        level=None,
        method=None,
        policy="a policy of an earlier state of the run",
        judge=None,
        judged=None,
        p=None,
        disagreement=None,
        why="Its label was taken back.",
    )
