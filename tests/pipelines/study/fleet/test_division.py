"""Who starts when, and how many GPUs each gets, by priority, weight and room."""

from __future__ import annotations

import pytest

from actors.errors import SalusError
from pipelines.cluster.plan import make_plan
from pipelines.study.fleet.division import Division, Room, least, together
from pipelines.study.fleet.member import Member
from pipelines.study.fleet.pools import shared_pools
from tests.pipelines.study.fleet.members import LAPTOP, NODES, member, on_gpus


def names(members: tuple[Member, ...]) -> list[str]:
    return [each.name for each in members]


def gpus(division: Division, members: tuple[Member, ...]) -> dict[str, float]:
    return {each.name: division.needs(each).gpus for each in members}


def everyone(*members: Member) -> list[str]:
    return [each.name for each in members]


def test_all_start_at_once_where_there_is_room() -> None:
    members = member("a"), member("b")
    assert names(Division(members, LAPTOP).starting(everyone(*members), ())) == ["a", "b"]


def test_higher_priorities_start_first_and_the_others_when_there_is_room() -> None:
    members = member("a"), member("b", priority=1), member("c")
    alone = Division(members, LAPTOP)
    two = together([alone.base(), alone.needs(members[0]), alone.needs(members[1])]).memory_gib
    division = Division(members, LAPTOP.model_copy(update={"memory_gib": two + 0.1}))
    first = division.starting(everyone(*members), ())
    assert names(first) == ["b", "a"]
    assert names(division.starting(["c"], first)) == []
    assert names(division.starting(["c"], first[:1])) == ["c"]


def test_most_at_once_is_kept() -> None:
    members = member("a"), member("b"), member("c")
    division = Division(members, LAPTOP, side_by_side=2)
    first = division.starting(everyone(*members), ())
    assert names(first) == ["a", "b"]
    assert names(division.starting(["c"], first)) == []
    assert division.slots() == pytest.approx(2 * division.needs(members[0]).cpus)


def test_no_policy_takes_room_that_one_of_higher_priority_waits_for() -> None:
    small, large = member("small"), member("large", "generate.actors=8", "generate.engine.kv_cache_gib=0.5")
    first = member("first", priority=2)
    for priority, expected in ((1, ["first"]), (0, ["first", "small"])):
        waits = Member(name="large", recipe=large.recipe, run=large.run, priority=priority)
        members = first, waits, small
        plain = Division(members, LAPTOP)
        room = together([plain.base(), plain.needs(first), plain.needs(waits)]).memory_gib - 1
        division = Division(members, LAPTOP.model_copy(update={"memory_gib": room}))
        # Among equals the one that fits goes first.
        assert names(division.starting(everyone(*members), ())) == expected


def test_gpus_that_are_left_are_divided_by_weight() -> None:
    members = on_gpus("a"), on_gpus("b", weight=2)
    division = Division(members, NODES)
    found = gpus(division, division.starting(everyone(*members), ()))
    assert sum(found.values()) == NODES.gpus
    # 16 GPUs as 1 to 2, in whole ones.
    assert found["b"] / found["a"] == pytest.approx(2, abs=0.4)


def test_a_policy_gives_up_generators_so_that_all_fit() -> None:
    members = tuple(on_gpus(name, "generate.actors=8") for name in ("a", "b", "c"))
    division = Division(members, NODES)
    assert make_plan(members[0].recipe).gpus * 2 > NODES.gpus
    found = gpus(division, division.starting(everyone(*members), ()))
    assert len(found) == 3 and max(found.values()) - min(found.values()) <= 1


def test_no_more_generators_than_shards() -> None:
    (alone,) = members = (on_gpus("a", "data.train_per_cycle=20"),)
    (started,) = Division(members, NODES).starting(everyone(alone), ())
    assert started.recipe.generate.actors == 2


def test_generators_on_a_cpu_stay_as_the_recipe_says() -> None:
    (started,) = Division((each := member("a", "generate.actors=3"),), LAPTOP).starting(["a"], ())
    assert started == each == least(each)


def test_a_shared_judge_is_counted_once() -> None:
    members = on_gpus("a"), on_gpus("b")
    apart = Division(members, NODES)
    shared = Division(members, NODES, shared_pools(members, "here", ["judges"]))
    one = together([apart.base(), *(apart.needs(least(each)) for each in members)])
    other = together([shared.base(), *(shared.needs(least(each)) for each in members)])
    assert one.gpus - other.gpus == 1
    # The pool's room is free once nobody asks it any more.
    assert shared.base(()).gpus == 0


def test_ray_is_counted_once() -> None:
    members = member("a"), member("b")
    division = Division(members, LAPTOP)
    both = together([division.base(), *map(division.needs, members)]).memory_gib
    assert both < 2 * make_plan(members[0].recipe).memory_gib


def test_a_policy_that_can_never_run_is_refused_in_one_sentence() -> None:
    members = member("a"), member("b")
    with pytest.raises(SalusError, match=r"Recipe a needs .* GiB of memory"):
        Division(members, LAPTOP.model_copy(update={"memory_gib": 2})).check()
    lonely = (on_gpus("a"),)
    with pytest.raises(SalusError, match="needs 4 GPUs, but the cluster has 3"):
        Division(lonely, NODES.model_copy(update={"gpus": 3, "node_gpus": 3})).check()
    # Beside a judge of two others, which stays up.
    pair = on_gpus("b", "judge.actors=2"), on_gpus("c")
    pools = shared_pools(pair, "here", ["judges"])
    with pytest.raises(SalusError) as caught:
        Division((*lonely, *pair), NODES.model_copy(update={"gpus": 5}), pools).check()
    assert "Policy a needs 4 GPUs, but beside Ray and the actors that are shared the cluster has 3" in str(caught.value)


def test_rooms_add_up() -> None:
    assert together([]) == Room(0, 0, 0)
    assert Room.of(LAPTOP).cpus == float("inf")
    assert Room(1.0, 0, 0.3).holds(together([Room(0.5, 0, 0.1), Room(0.5, 0, 0.1), Room(0, 0, 0.1)]))
