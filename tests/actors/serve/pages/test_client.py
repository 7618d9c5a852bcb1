"""Asking an actor: its answers, and its faults as the sentences they were."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from ray.exceptions import ActorDiedError, RayTaskError

from actors.errors import SalusError
from actors.serve.pages.client import PagesClient
from tests.actors.serve.pages.fakes import EMPTY, TRAFFIC, FakeQueue, FakeSource


class Remotely:
    """A method of a handle: called by `.remote`."""

    def __init__(self, method: Callable[..., Awaitable[Any]]) -> None:
        self.remote = method


class Handle:
    """What Ray gives of an actor, as far as the client uses it."""

    def __init__(self, *pages: object) -> None:
        self._pages = pages

    def __getattr__(self, name: str) -> Remotely:
        return Remotely(next(getattr(pages, name) for pages in self._pages if hasattr(pages, name)))


class Faulty:
    """An actor whose every task ends so."""

    def __init__(self, fault: Exception) -> None:
        self._fault = fault

    async def data(self) -> None:
        raise self._fault


def test_every_question_reaches_the_actor() -> None:
    async def asked() -> None:
        queue = FakeQueue()
        client = PagesClient(Handle(queue, FakeSource()))
        (item,) = await client.next(1, "alice")
        assert (await client.label(item.key, "Refuse", "alice", "why")).labelled == 1
        assert (await client.progress("alice")).labelled == 1
        assert await client.undo("alice") == item.model_copy(update={"comment": "why"})
        assert (await client.data(), await client.traffic()) == (EMPTY, TRAFFIC)
        assert "cycle 1" in (await client.decision_page(1) or "") and await client.decision_page(2) is None

    asyncio.run(asked())


def test_a_sentence_arrives_as_one() -> None:
    fault = RayTaskError("data", "a traceback", SalusError("Free that place.")).as_instanceof_cause()
    with pytest.raises(SalusError) as caught:
        asyncio.run(PagesClient(Handle(Faulty(fault))).data())
    assert (type(caught.value), caught.value.sentence) == (SalusError, "Free that place.")


def test_an_actor_that_died_is_told() -> None:
    with pytest.raises(SalusError, match="is not up"):
        asyncio.run(PagesClient(Handle(Faulty(ActorDiedError()))).data())


def test_a_fault_of_ours_is_not_hidden() -> None:
    with pytest.raises(RayTaskError):
        asyncio.run(PagesClient(Handle(Faulty(RayTaskError("data", "a traceback", KeyError("x"))))).data())
