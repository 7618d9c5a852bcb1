"""Lanes, their lanes and the route table: holding, pointing, releasing, and what dies in between."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from actors.errors import SalusError
from actors.serve.router.actor import RouteTable
from actors.serve.router.lanes import RouteLane, RouterLanes, RouterState
from actors.serve.router.routes import KnownRoute, application_prefix, model_of_answer
from tests.actors.serve.router.standing import route


class Table:
    """A table in this process; it can fall silent."""

    def __init__(self, *known: KnownRoute) -> None:
        self.known = list(known)
        self.silent = False

    async def ask(self) -> tuple[KnownRoute, ...]:
        if self.silent:
            raise TimeoutError
        return tuple(self.known)


class Clock:
    """Seconds, as a test says."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def lanes_of(table: Table, clock: Clock | None = None, drain_timeout_s: float = 2) -> RouterLanes:
    return RouterLanes(table.ask, drain_timeout_s=drain_timeout_s, hold_s=60, monotonic=clock or Clock())


def play(scene: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scene, 20))


def test_what_runs_ends_before_the_hold_does_and_what_comes_waits_for_the_new_route() -> None:
    async def scene() -> None:
        lane, order = RouteLane(route("clinic")), list[str]()
        may_end = asyncio.Event()

        async def request(name: str) -> None:
            async with lane.passing() as there:
                order.append(f"{name} to {there.generation}")
                await may_end.wait()
                order.append(f"{name} ends")

        old = asyncio.create_task(request("old"))
        await asyncio.sleep(0)
        holding = asyncio.create_task(lane.hold(5))
        await asyncio.sleep(0)
        new = [asyncio.create_task(request(f"new{number}")) for number in range(3)]
        await asyncio.sleep(0.02)
        assert order == ["old to 1"] and not holding.done() and lane.waiting == 3
        may_end.set()
        await holding
        lane.point(route("clinic", 2))
        await asyncio.sleep(0.02)
        assert order == ["old to 1", "old ends"]
        lane.release()
        await asyncio.gather(old, *new)
        assert [each for each in order if each.endswith("2")] == [f"new{number} to 2" for number in range(3)]
        assert lane.waiting == 0

    play(scene())


def test_a_request_that_was_let_go_and_held_again_in_the_same_turn_waits() -> None:
    async def scene() -> None:
        lane, passed = RouteLane(route("clinic")), list[int]()

        async def request() -> None:
            async with lane.passing() as there:
                passed.append(there.generation)

        await lane.hold(1)
        waiting = asyncio.create_task(request())
        await asyncio.sleep(0)
        lane.release()
        lane.close()
        await asyncio.sleep(0.02)
        assert passed == []
        lane.point(route("clinic", 2))
        lane.release()
        await waiting
        assert passed == [2]

    play(scene())


def test_answers_that_do_not_end_open_the_lane_again() -> None:
    async def scene() -> None:
        lanes = lanes_of(Table(KnownRoute(route=route("clinic"))), drain_timeout_s=0.05)
        await lanes.follow()
        lane = lanes.lanes["clinic"]
        async with lane.passing():
            with pytest.raises(SalusError, match=r"did not end within 0\.05 s"):
                await lanes.hold(route("clinic"))
            assert not lane.held
            async with lane.passing() as there:
                assert there.generation == 1

    play(scene())


def test_a_client_that_leaves_while_it_waits_is_forgotten() -> None:
    async def scene() -> None:
        lane = RouteLane(route("clinic"))
        await lane.hold(1)

        async def request() -> None:
            async with lane.passing():
                raise AssertionError("it had left")

        waiting = asyncio.create_task(request())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert lane.waiting == 0
        lane.release()
        await lane.hold(1)

    play(scene())


def test_other_models_go_on_while_one_is_held() -> None:
    async def scene() -> None:
        lanes = lanes_of(Table(KnownRoute(route=route("clinic")), KnownRoute(route=route("ward"))))
        await lanes.follow()
        state = await lanes.hold(route("clinic"))
        assert state == RouterState(routes=(route("clinic"), route("ward")), held=("clinic",))
        async with lanes.lanes["ward"].passing() as there:
            assert there.model == "ward"

    play(scene())


def test_a_router_that_starts_in_the_middle_of_a_move_holds_until_it_is_recorded() -> None:
    async def scene() -> None:
        table = Table(KnownRoute(route=route("clinic"), moving=True))
        lanes = lanes_of(table)
        await lanes.follow()
        assert lanes.state.held == ("clinic",)
        table.known = [KnownRoute(route=route("clinic", 2))]
        await lanes.settle(route("clinic", 2))
        assert lanes.state == RouterState(routes=(route("clinic", 2),), held=())

    play(scene())


@pytest.mark.parametrize("recorded", [1, 2])
def test_after_a_publisher_dies_half_way_the_table_decides_when_the_hold_ends(recorded: int) -> None:
    async def scene() -> None:
        clock, table = Clock(), Table(KnownRoute(route=route("clinic")))
        lanes = lanes_of(table, clock)
        await lanes.follow()
        await lanes.hold(route("clinic"))
        await lanes.point(route("clinic", 2))
        table.known = [KnownRoute(route=route("clinic", recorded))]
        clock.now_s += 59
        await lanes.follow()
        assert lanes.state == RouterState(routes=(route("clinic", 2),), held=("clinic",))
        clock.now_s += 2
        await lanes.follow()
        assert lanes.state == RouterState(routes=(route("clinic", recorded),), held=())

    play(scene())


def test_a_silent_table_changes_nothing_and_one_that_forgets_a_model_ends_it() -> None:
    async def scene() -> None:
        table = Table(KnownRoute(route=route("clinic")), KnownRoute(route=route("ward")))
        lanes = lanes_of(table)
        await lanes.follow()
        table.known, table.silent = [KnownRoute(route=route("ward"))], True
        await lanes.follow()
        assert list(lanes.lanes) == ["clinic", "ward"]
        table.silent = False
        await lanes.follow()
        assert list(lanes.lanes) == ["ward"]

    play(scene())


def test_the_table_tells_of_a_move_until_it_is_recorded_or_too_old() -> None:
    clock = Clock()
    table = RouteTable(60, clock)
    table.record(route("clinic"))
    table.record(route("ward"))
    table.move("clinic")
    assert [(known.route.model, known.moving) for known in table.routes()] == [("clinic", True), ("ward", False)]
    clock.now_s += 61
    assert [known.moving for known in table.routes()] == [False, False]
    table.move("clinic")
    table.record(route("clinic", 2))
    # As the first one in, it stays the first.
    assert table.routes() == (KnownRoute(route=route("clinic", 2)), KnownRoute(route=route("ward")))
    table.forget("clinic")
    assert [known.route.model for known in table.routes()] == ["ward"]


@pytest.mark.parametrize(
    ("answer", "model"),
    [
        (f"chatcmpl-ward-{'0a' * 16}", "ward"),
        (f"cmpl-ward-2-{'0a' * 16}-0", "ward-2"),
        (f"chatcmpl-{'0a' * 16}", None),
        ("chatcmpl-ward", None),
        ("", None),
    ],
)
def test_an_answers_id_names_its_model(answer: str, model: str | None) -> None:
    assert model_of_answer(answer) == model


def test_an_applications_path_lies_below_the_endpoints_own() -> None:
    assert application_prefix("/", "clinic", 2) == "/_/clinic-2"
    assert application_prefix("/ward", "clinic", 1) == "/ward/_/clinic-1"
