"""What waits is judged together, in one thread, and not at all where its asker has gone."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest

from actors.serve.guard.batches import BatchingGuard
from actors.serve.guard.model import GuardUnavailable, JudgedExchange, Verdict
from tests.actors.serve.gateway.served import Clock


class Engine:
    """Takes its time for the first call, and keeps what it was asked at once."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.threads = {threading.get_ident()}
        self.busy = threading.Event()

    def judge(self, exchanges: Sequence[JudgedExchange]) -> list[Verdict]:
        self.threads.add(threading.get_ident())
        self.batches.append([exchange.answer for exchange in exchanges])
        if len(self.batches) == 1:
            self.busy.wait(5)
        if any(exchange.answer == "break" for exchange in exchanges):
            raise RuntimeError("out of memory")
        return ["unsafe" if exchange.answer == "bad" else "safe" for exchange in exchanges]


def said(*answers: str) -> list[JudgedExchange]:
    return [JudgedExchange(request="?", answer=answer) for answer in answers]


class Built:
    """An engine, built where it will be asked, and the guard before it."""

    def __init__(self, max_batch: int = 3, clock: Clock | None = None) -> None:
        def build() -> object:
            self.engine = Engine()
            return self.engine.judge

        self.clock = clock or Clock()
        self.guard = BatchingGuard(build, max_batch, timeout_s=10, clock=self.clock)  # type: ignore[arg-type]


def test_what_waits_is_asked_at_once_and_no_more_than_fits() -> None:
    built = Built()

    async def go() -> list[list[Verdict]]:
        first = asyncio.create_task(built.guard.judge(said("good")))
        await asyncio.sleep(0.05)
        others = [asyncio.create_task(built.guard.judge(said(*pair))) for pair in (("a", "bad"), ("b", "c"))]
        await asyncio.sleep(0.05)
        built.engine.busy.set()
        return [await first, *[await other for other in others]]

    assert asyncio.run(go()) == [["safe"], ["safe", "unsafe"], ["safe", "safe"]]
    assert built.engine.batches == [["good"], ["a", "bad", "b"], ["c"]]
    assert len(built.engine.threads) == 1 and threading.get_ident() not in built.engine.threads


def test_a_fault_is_told_to_those_it_concerns_and_to_nobody_else() -> None:
    built = Built(max_batch=1)
    built.engine.busy.set()

    async def go() -> list[Verdict]:
        with pytest.raises(RuntimeError, match="out of memory"):
            await built.guard.judge(said("break", "break"))
        return await built.guard.judge(said("bad"))

    assert asyncio.run(go()) == ["unsafe"]


def test_what_has_waited_for_too_long_is_not_judged() -> None:
    built = Built()

    async def go() -> None:
        first = asyncio.create_task(built.guard.judge(said("good")))
        await asyncio.sleep(0.05)
        late = asyncio.create_task(built.guard.judge(said("late")))
        await asyncio.sleep(0)
        built.clock.now_s += 11
        built.engine.busy.set()
        assert await first == ["safe"]
        with pytest.raises(GuardUnavailable, match="too much to judge"):
            await late

    asyncio.run(go())
    assert built.engine.batches == [["good"]]
