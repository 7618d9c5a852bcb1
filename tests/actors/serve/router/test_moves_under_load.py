"""A model that moves again and again while eight clients ask two routers: nothing lost, nothing old after new."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx

from actors.serve.router.actor import RouteTable
from actors.serve.router.endpoint import RouterCall
from actors.serve.router.lanes import RouterLanes, RouterState
from actors.serve.router.routes import Route
from tests.actors.serve.router.published import Ward
from tests.actors.serve.router.standing import Application, Proxy, route, router, serving

CLIENTS = 8
MOVES = 6


@dataclass
class Asked:
    """One request as its client saw it."""

    sent: float
    done: float
    by: int
    content: int


@dataclass
class LoopRouter:
    """The routers of an event loop, as a publisher in another thread speaks to them."""

    table: RouteTable
    replicas: list[RouterLanes]
    loop: asyncio.AbstractEventLoop

    def move(self, model: str) -> None:
        self.table.move(model)

    def record(self, route: Route) -> None:
        self.table.record(route)

    def forget(self, model: str) -> None:
        self.table.forget(model)

    def everywhere(self, call: RouterCall, route: Route) -> list[RouterState]:
        async def play() -> list[RouterState]:
            return list(await asyncio.gather(*(getattr(lanes, call)(route) for lanes in self.replicas)))

        return asyncio.run_coroutine_threadsafe(play(), self.loop).result(10)


@dataclass
class Load:
    """Clients that ask until they are told to stop, each the next question once it is answered."""

    urls: list[str]
    asked: list[Asked] = field(default_factory=list)
    over: bool = False

    async def run(self) -> None:
        async with httpx.AsyncClient(timeout=20) as client:
            await asyncio.gather(*(self._client(client, number) for number in range(CLIENTS)))

    async def answered_by(self, generation: int) -> None:
        """Return when a generation has answered each client once or so."""
        while sum(asked.by == generation for asked in self.asked) < 2 * CLIENTS:
            await asyncio.sleep(0.01)

    async def _client(self, client: httpx.AsyncClient, worker: int) -> None:
        for number in itertools.count(worker):
            if self.over:
                return
            body = {"model": "clinic", "content": number, "seconds": 0.003 * (number % 4)}
            sent = time.monotonic()
            reply = await client.post(f"{self.urls[number % 2]}/v1/chat/completions", json=body)
            assert reply.status_code == 200, reply.text
            self.asked.append(Asked(sent, time.monotonic(), int(reply.json()["by"]), reply.json()["content"] - number))


@asynccontextmanager
async def two_routers(base: str, table: RouteTable) -> AsyncIterator[tuple[list[str], list[RouterLanes]]]:
    async with router(base, table.routes) as (one, first), router(base, table.routes) as (two, second):
        yield [one, two], [first, second]


def test_moves_under_load(ward: Ward) -> None:
    asyncio.run(asyncio.wait_for(_moves(ward), 60))


async def _moves(ward: Ward) -> None:
    proxy, applications = Proxy(), list[Application]()
    table = RouteTable(60)
    async with serving(proxy) as base, two_routers(base, table) as (urls, replicas):
        publisher = ward.publisher
        publisher._router = LoopRouter(table, replicas, asyncio.get_running_loop())

        def stand(generation: int) -> None:
            applications.append(Application("clinic", str(generation)))
            proxy.add(route("clinic", generation), applications[-1])

        stand(1)
        table.record(route("clinic"))
        for lanes in replicas:
            await lanes.follow()
        load = Load(urls)
        running = asyncio.create_task(load.run())
        for number in range(MOVES):
            await load.answered_by(number + 1)
            stand(number + 2)
            await asyncio.to_thread(publisher.publish, ward.policies[("wide", "wider")[number % 2]], number)
            # As Serve does, once it is ended.
            del proxy.applications[route("clinic", number + 1).prefix]
        await load.answered_by(MOVES + 1)
        load.over = True
        await running
    assert {asked.by for asked in load.asked} == set(range(1, MOVES + 2))
    assert {asked.content for asked in load.asked} == {0}
    assert len(load.asked) == sum(len(application.seen) for application in applications)
    for former, following in itertools.pairwise(applications):
        assert max(ended for _, ended in former.spans) < min(came for came, _ in following.spans)
    for generation in range(2, MOVES + 2):
        # Clients share a loop here, so one may come late to an answer that was there before.
        first_new = min(asked.done for asked in load.asked if asked.by == generation)
        assert not [asked for asked in load.asked if asked.by < generation and asked.sent > first_new]
