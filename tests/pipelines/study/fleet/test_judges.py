"""Which members share a judge pool, and how its time is divided."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.errors import SalusError
from pipelines.cluster.demand import demand
from pipelines.cluster.pools import Pools, spawn
from pipelines.config.cluster import SharedJudges
from pipelines.config.load import load_recipe
from pipelines.study.fleet.judges import judge_key, judge_pools
from tests.pipelines.study.fleet.members import member
from tests.tiny_model import make_tiny_model


def test_the_same_judge_is_one_pool_whatever_is_made_of_its_labels() -> None:
    members = (
        member("a", "judge.actors=1"),
        member("b", "judge.actors=2", "judge.max_missing=0.5", "judge.accept_unreliable=true", "cycles=1"),
        member("c", "judge.regimen=RULES"),
    )
    (pool,) = judge_pools(members, "here")
    assert pool.names == ("a", "b") and pool.actors == 2


@pytest.mark.parametrize(
    "other",
    [
        ("judge.engine.max_model_len=200",),
        ("judge.min_coverage=0.9",),
        ("judge.prompt=cares-v2",),
        ("judge.regimen=LMA",),
        # Another seed is another clinic, and so another model.
        ("seed=8",),
        ("harmfulness={}", "judge.regimen=LMA"),
    ],
)
def test_another_judge_is_not_shared(other: tuple[str, ...]) -> None:
    assert judge_pools((member("a"), member("b", *other)), "here") == ()


def test_a_judge_that_is_the_champion_is_not_shared() -> None:
    members = tuple(member(name, "judge.regimen=SELF") for name in "ab")
    assert judge_key(members[0]) is None
    assert judge_pools(members, "here") == ()


def test_judges_in_folders_are_told_apart_by_their_content(tmp_path: Path) -> None:
    def folder(name: str, seed: int) -> str:
        make_tiny_model(tmp_path / name / "judge", seed=seed)
        return str(tmp_path / name / "judge")

    same, copy, other = folder("one", 0), folder("copy", 0), folder("other", 1)
    names = ("one", "copy", "other")
    members = [
        member(name, "judge.source=folder", f"judge.path={path}")
        for name, path in zip(names, (same, copy, other), strict=True)
    ]
    (pool,) = judge_pools(members, "here")
    assert pool.names == ("one", "copy")
    # A judge that is not there is found by the run, which says so.
    gone = [member(name, "judge.source=folder", "judge.path=/nowhere") for name in "ab"]
    assert judge_pools(gone, "here") == ()


def test_more_weight_is_more_shards_at_the_judge() -> None:
    light, heavy = member("light", weight=0.1), member("heavy", weight=3)
    (pool,) = judge_pools((light, heavy), "here")
    assert (pool.settings(light).queue, pool.settings(heavy).queue) == (1, 6)
    assert (pool.settings(light).ahead, pool.settings(heavy).ahead) == (6, 1)
    assert pool.settings(light).actors == pool.settings(heavy).actors


def test_two_pools_have_different_actors() -> None:
    members = [member(name, f"seed={seed}") for name, seed in (("a", 1), ("b", 2), ("c", 1), ("d", 2))]
    first, second = judge_pools(members, "here")
    assert (first.names, second.names) == (("a", "c"), ("b", "d"))
    assert not set(first.settings(members[0]).actors) & set(second.settings(members[1]).actors)


def test_a_run_that_shares_its_judges_plans_none() -> None:
    shared = SharedJudges(namespace="here", actors=("judge-1-0",))
    alone = load_recipe("demo")
    cluster = alone.cluster.model_copy(update={"shared_judges": shared})
    rows = [row.actor for row in demand(alone.model_copy(update={"cluster": cluster}))]
    assert "judge" not in rows and "judge" in [row.actor for row in demand(alone)]


def test_a_judge_that_changes_with_the_champion_cannot_be_told_to_be_shared() -> None:
    told = "cluster.shared_judges={namespace: here, actors: [judge-1-0]}"
    assert load_recipe("demo", [told]).cluster.shared_judges is not None
    with pytest.raises(SalusError, match="shared_judges goes with a judge that stays the same, and SELF"):
        load_recipe("demo", [told, "judge.regimen=SELF"])


def test_a_shared_judge_has_the_time_that_the_others_shards_take() -> None:
    assert Pools((), ()).judge_limit_s(60) == 60 and Pools((), ()).judge_queue is None
    shared = Pools((), (), SharedJudges(namespace="here", actors=("judge-1-0",), queue=4, ahead=6))
    assert shared.judge_limit_s(60) == 420 and shared.judge_queue == 4
    # It is the fleet's to end, so this ends nothing.
    Pools((), (object(),), shared.shared).close()


@pytest.mark.ray
def test_a_shared_judge_that_is_not_up_is_one_sentence(own_ray: None) -> None:
    import ray

    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    try:
        recipe = load_recipe("demo")
        with pytest.raises(SalusError, match="judges judge-1-0 that this run shares with others are not up"):
            spawn(recipe, None, None, False, True, SharedJudges(namespace="here", actors=("judge-1-0",)))  # type: ignore[arg-type]
    finally:
        ray.shutdown()
