"""Which members share judges, generators and trainers, and how their time is divided."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.contract.records import PolicyRef
from actors.errors import SalusError
from pipelines.cluster.demand import demand
from pipelines.cluster.pools import Pools, Waits, spawn
from pipelines.cluster.stream import Limits, Queues
from pipelines.config.cluster import ClusterConfig, SharedPool
from pipelines.config.load import load_recipe
from pipelines.study.fleet.pools import generator_key, judge_key, shared_pools, trainer_key
from pipelines.study.fleet.shared import SharedJudges
from tests.pipelines.study.fleet.members import member
from tests.tiny_model import make_tiny_model


def test_the_same_judge_is_one_pool_whatever_is_made_of_its_labels() -> None:
    members = (
        member("a", "judge.actors=1"),
        member("b", "judge.actors=2", "judge.max_missing=0.5", "judge.accept_unreliable=true", "cycles=1"),
        member("c", "judge.regimen=RULES"),
    )
    (pool,) = shared_pools(members, "here", ["judges"])
    assert pool.names == ("a", "b")
    assert isinstance(pool, SharedJudges) and pool.recipe.judge.actors == 2


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
    assert shared_pools((member("a"), member("b", *other)), "here", ["judges"]) == ()


def test_a_judge_that_is_the_champion_is_not_shared() -> None:
    members = tuple(member(name, "judge.regimen=SELF") for name in "ab")
    assert judge_key(members[0]) is None
    assert shared_pools(members, "here", ["judges"]) == ()


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
    (pool,) = shared_pools(members, "here", ["judges"])
    assert pool.names == ("one", "copy")
    # A judge that is not there is found by the run, which says so.
    gone = [member(name, "judge.source=folder", "judge.path=/nowhere") for name in "ab"]
    assert shared_pools(gone, "here", ["judges"]) == ()


def test_more_weight_is_more_shards_at_the_judge() -> None:
    light, heavy = member("light", weight=0.1), member("heavy", weight=3)
    (pool,) = shared_pools((light, heavy), "here", ["judges"])
    settings = [told for each in (light, heavy) if isinstance(told := pool.settings(each), SharedPool)]
    assert (settings[0].queue, settings[1].queue) == (1, 6)
    assert (settings[0].ahead, settings[1].ahead) == (6, 1)
    assert settings[0].actors == settings[1].actors


def test_two_pools_have_different_actors() -> None:
    members = [member(name, f"seed={seed}") for name, seed in (("a", 1), ("b", 2), ("c", 1), ("d", 2))]
    first, second = shared_pools(members, "here", ["judges"])
    assert (first.names, second.names) == (("a", "c"), ("b", "d"))
    told = [pool.settings(each) for pool, each in ((first, members[0]), (second, members[1]))]
    one, other = (each.actors for each in told if isinstance(each, SharedPool))
    assert not set(one) & set(other)


def test_a_run_that_shares_its_judges_plans_none() -> None:
    shared = SharedPool(namespace="here", actors=("judge-1-0",))
    alone = load_recipe("demo")
    cluster = alone.cluster.model_copy(update={"shared_judges": shared})
    rows = [row.actor for row in demand(alone.model_copy(update={"cluster": cluster}))]
    assert "judge" not in rows and "judge" in [row.actor for row in demand(alone)]


def test_a_judge_that_changes_with_the_champion_cannot_be_told_to_be_shared() -> None:
    told = "cluster.shared_judges={namespace: here, actors: [judge-1-0]}"
    assert load_recipe("demo", [told]).cluster.shared_judges is not None
    with pytest.raises(SalusError, match="shared_judges goes with a judge that stays the same, and SELF"):
        load_recipe("demo", [told, "judge.regimen=SELF"])


@pytest.mark.parametrize("what", ["generators", "trainers"])
def test_a_run_that_shares_more_plans_less(what: str) -> None:
    alone = load_recipe("demo")
    at = "actor: t" if what == "trainers" else "actors: [g]"
    sharing = load_recipe("demo", [f"cluster.shared_{what}={{namespace: here, {at}}}"])
    gone = {row.actor for row in demand(alone)} - {row.actor for row in demand(sharing)}
    trained = {f"{name} {who}" for name in ("KTO", "DPO") for who in ("worker", "controller (Ray Train)")}
    assert gone == ({"generator"} if what == "generators" else trained)
    # What ends with its turn is nobody else's.
    with pytest.raises(SalusError, match=f"cluster.shared_{what} is for actors that stay up"):
        load_recipe("demo", [f"cluster.shared_{what}={{namespace: here, {at}}}", "cluster.placement=by_turns"])


def test_generators_are_shared_by_engine_and_model_whatever_is_sampled() -> None:
    same = (member("a"), member("b", "generate.sampling.k=3", "cycles=1", "judge.regimen=RULES"))
    (pool,) = shared_pools(same, "here", ["generators"])
    assert pool.names == ("a", "b") and pool.setting == "shared_generators"
    assert shared_pools(same, "here", ["judges", "trainers"])[0].kind == "trainers"
    for other in ("generate.engine.max_model_len=200", "seed=8", "model.system_prompt=Be kind."):
        assert generator_key(member("c", other)) != generator_key(same[0]), other


def test_trainers_are_shared_by_their_settings_whatever_they_train() -> None:
    first = member("a")
    assert trainer_key(member("b", "seed=8", "judge.regimen=RULES")) == trainer_key(first)
    assert trainer_key(member("c", "train.max_length_tokens=100")) != trainer_key(first)
    # They end with each cycle, or keep checkpoints under names that another run has too.
    for alone in ("train.resident=false", "train.checkpoint_every_steps=5"):
        assert trainer_key(member("d", alone)) is None
    by_turns = tuple(member(name, "cluster.placement=by_turns") for name in "ab")
    assert shared_pools(by_turns, "here", ["judges", "generators", "trainers"]) == ()


def test_shared_actors_have_the_time_that_the_others_shards_take() -> None:
    own = Pools((), ()).waits
    assert own.queues == Queues() and own.limits(None, 60) == Limits(None, 60)
    pool = SharedPool(namespace="here", actors=("judge-1-0",), queue=4, ahead=6)
    shared = Pools((), (object(),), Waits(judges=pool))
    assert shared.waits.queues == Queues(judge=4) and shared.waits.limits(10, 60) == Limits(10, 420)
    both = Pools((object(),), (object(),), Waits(pool, pool))
    assert both.waits.queues == Queues(4, 4) and both.waits.limits(10, 60) == Limits(70, 420)
    assert both.waits.limits(None, 60).generate_s is None
    # They are the fleet's to end, so this ends nothing and forgets nothing.
    both.close()
    both.forget()


@pytest.mark.ray
@pytest.mark.parametrize("kind", ["judges", "generators"])
def test_shared_actors_that_are_not_up_are_one_sentence(own_ray: None, kind: str) -> None:
    import ray

    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    try:
        pool = SharedPool(namespace="here", actors=(f"{kind}-1-0",))
        shared = ClusterConfig.model_validate({f"shared_{kind}": pool})
        policy = PolicyRef(version="c0-base", path="/nowhere")
        with pytest.raises(SalusError, match=f"The {kind} {kind}-1-0 that this run shares with others are not up"):
            spawn(load_recipe("demo"), policy, None, kind == "generators", kind == "judges", shared)
    finally:
        ray.shutdown()
