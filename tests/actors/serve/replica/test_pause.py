"""The pause before a replica's engine."""

from __future__ import annotations

import asyncio
from typing import Any

from actors.serve.replica.pause import Pause, PauseMiddleware

CHAT, MODELS = "/v1/chat/completions", "/v1/models"


class App:
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.go_on = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.asked.append(scope["path"])
        await self.go_on.wait()


def ask(middleware: PauseMiddleware, path: str) -> asyncio.Task[None]:
    async def nothing(*_: Any) -> Any:
        return None

    scope = {"type": "http", "path": path, "method": "POST", "headers": []}
    return asyncio.create_task(middleware(scope, nothing, nothing))


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_those_inside_end_and_those_outside_wait() -> None:
    async def play() -> None:
        app, pause = App(), Pause()
        middleware = PauseMiddleware(app, pause)
        first = ask(middleware, CHAT)
        await turns()
        pause.begin()
        second = ask(middleware, CHAT)
        emptied = asyncio.create_task(pause.drained())
        await turns()
        assert (app.asked, emptied.done()) == ([CHAT], False)
        app.go_on.set()
        await asyncio.wait_for(emptied, 1)
        assert first.done() and not second.done() and app.asked == [CHAT]
        pause.end()
        await asyncio.wait_for(second, 1)
        assert app.asked == [CHAT, CHAT]

    asyncio.run(play())


def test_what_asks_no_model_passes_by() -> None:
    async def play() -> None:
        app, pause = App(), Pause()
        pause.begin()
        app.go_on.set()
        await asyncio.wait_for(ask(PauseMiddleware(app, pause), MODELS), 1)
        assert app.asked == [MODELS] and pause.active

    asyncio.run(play())


def test_a_client_that_goes_while_it_waits_or_is_served_leaves_nobody_inside() -> None:
    async def play() -> None:
        app, pause = App(), Pause()
        middleware = PauseMiddleware(app, pause)
        inside = ask(middleware, CHAT)
        await turns()
        pause.begin()
        outside = ask(middleware, CHAT)
        await turns()
        for task in (inside, outside):
            task.cancel()
        await asyncio.gather(inside, outside, return_exceptions=True)
        await asyncio.wait_for(pause.drained(), 1)
        pause.end()
        assert app.asked == [CHAT]

    asyncio.run(play())


def test_a_pause_that_begins_again_at_once_lets_nobody_slip_in() -> None:
    async def play() -> None:
        app, pause = App(), Pause()
        pause.begin()
        waiting = ask(PauseMiddleware(app, pause), CHAT)
        await turns()
        pause.end()
        pause.begin()
        await turns()
        assert app.asked == [] and not waiting.done()
        app.go_on.set()
        pause.end()
        await asyncio.wait_for(waiting, 1)

    asyncio.run(play())
