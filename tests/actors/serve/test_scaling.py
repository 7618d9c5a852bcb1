"""Autoscaling of an endpoint: Ray Serve's own bounds, what is planned, and what a canary makes of it."""

from __future__ import annotations

import pytest
from pydantic import ValidationError
from ray.serve.config import AutoscalingConfig

from actors.contract.records import PolicyRef
from actors.errors import SalusError
from actors.serve.config import CanaryConfig, PublisherConfig, publisher_cpus, publisher_gpus
from actors.serve.replica.app import replica_count
from actors.serve.router.fits import EngineSettings, engine_config
from actors.serve.scaling import ReplicaScaling
from pipelines.cluster.plan import make_plan
from pipelines.config.load import load_recipe
from pipelines.serving.settings import load_settings
from tests.actors.serve.publisher.test_publisher import policies, started

__all__ = ["policies"]

SCALING = ReplicaScaling(min_replicas=2, max_replicas=4)


def test_every_setting_is_one_of_ray_serve_and_keeps_its_default() -> None:
    serves = AutoscalingConfig.model_fields
    ours = ReplicaScaling.model_fields
    assert set(ours) <= set(serves)
    # A target of 2, which is Serve's, would leave an engine that batches 64 answers idle.
    differ = {"max_replicas", "target_ongoing_requests"}
    for name in set(ours) - differ:
        assert ours[name].default == serves[name].default, name


@pytest.mark.parametrize(
    ("numbers", "why"),
    [
        ({"min_replicas": 3, "max_replicas": 2}, r"Ray Serve refuses publish\.autoscaling: max_replicas \(2\)"),
        ({"initial_replicas": 5, "max_replicas": 4}, r"initial_replicas \(5\)"),
        ({"min_replicas": 0, "max_replicas": 4}, "greater than or equal to 1"),
        ({"max_replicas": 4, "policy": {"policy_function": "os:system"}}, "Extra inputs are not permitted"),
    ],
)
def test_what_serve_or_a_publication_could_not_do_is_refused(numbers: dict[str, object], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        ReplicaScaling.model_validate(numbers)


def test_serve_gets_a_number_or_its_own_settings() -> None:
    assert replica_count(PublisherConfig(replicas=3)) == {"num_replicas": 3}
    found = replica_count(PublisherConfig(replicas=3, autoscaling=SCALING))
    assert set(found) == {"autoscaling_config"}
    taken = AutoscalingConfig(**found["autoscaling_config"])
    assert (taken.min_replicas, taken.max_replicas, taken.target_ongoing_requests) == (2, 4, 16)


def test_resources_are_planned_for_the_most_replicas() -> None:
    config = PublisherConfig(cpus_per_replica=1.5, gpus_per_replica=1, autoscaling=SCALING)
    assert (publisher_cpus(config), publisher_gpus(config), config.first_replicas) == (6, 4, 2)
    recipe = load_recipe("demo", ["publish.autoscaling.max_replicas=3"])
    (row,) = (row for row in make_plan(recipe).rows if row.actor.startswith("policy replica"))
    assert row.count == 3


def test_salus_serve_takes_it_from_the_command_line() -> None:
    settings = load_settings(None, ["publish.autoscaling.max_replicas=3", "publish.autoscaling.min_replicas=2"])
    assert settings.publish.autoscaling == ReplicaScaling(min_replicas=2, max_replicas=3)
    with pytest.raises(SalusError, match=r"max_replicas \(1\) must be greater than or equal to min_replicas \(2\)"):
        load_settings(None, ["publish.autoscaling.max_replicas=1", "publish.autoscaling.min_replicas=2"])


def test_a_policy_behind_the_router_scales_by_itself_or_has_a_number() -> None:
    config = PublisherConfig(autoscaling=SCALING)
    assert engine_config(config, EngineSettings(max_model_len=64)).autoscaling == SCALING
    fixed = engine_config(config, EngineSettings(replicas=3))
    assert (fixed.autoscaling, fixed.most_replicas) == (None, 3)
    own = engine_config(config, EngineSettings(replicas=3), EngineSettings(autoscaling=ReplicaScaling(max_replicas=9)))
    assert own.most_replicas == 9


def test_a_canary_needs_one_replica_more_at_all_times() -> None:
    with pytest.raises(ValidationError, match=r"autoscaling\.min_replicas=1 is 1, which leaves none"):
        PublisherConfig(autoscaling=ReplicaScaling(max_replicas=4), canary=CanaryConfig())
    assert PublisherConfig(autoscaling=SCALING, canary=CanaryConfig()).canary is not None


def test_a_canary_is_a_share_of_the_replicas_that_are_there(policies: dict[str, PolicyRef]) -> None:
    canary = CanaryConfig(share=0.5, seconds=0.02)
    publisher, endpoint, _ = started(policies, replicas=4, canary=canary)
    scaled = publisher._config.model_copy(update={"replicas": 1, "autoscaling": SCALING})
    publisher._config = publisher._trial._config = scaled
    publisher.publish(policies["b"], 1)
    assert ("begin_trial", ("r0", "r1")) in endpoint.trials


def test_a_replica_that_autoscaling_took_away_is_no_fault_of_the_policy(policies: dict[str, PolicyRef]) -> None:
    publisher, endpoint, published = started(policies, replicas=3, canary=CanaryConfig(share=0.3, seconds=0.02))
    publisher._config = publisher._trial._config = publisher._config.model_copy(update={"autoscaling": SCALING})
    some = endpoint.some

    def one_less(replicas, call, *arguments):  # type: ignore[no-untyped-def]
        return [] if call == "end_swap" else some(replicas, call, *arguments)

    endpoint.some = one_less  # type: ignore[method-assign]
    with pytest.raises(SalusError, match=r"a stays: a replica that tried it \(canary\) ended meanwhile") as caught:
        publisher.publish(policies["b"], 1)
    assert type(caught.value) is SalusError
    assert published.holder.published_policy() == policies["a"]
