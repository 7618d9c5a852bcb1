"""A follower that was made anew goes on with what its replicas serve, and tries what was promoted meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from actors.contract.actor_address import ActorAddress
from actors.contract.records import PolicyRef
from actors.errors import SalusError
from actors.serve.config import PublisherConfig
from actors.serve.publisher.endpoint import ServeEndpoint
from pipelines.registry.store import Registry
from pipelines.serving.follower import Follower
from pipelines.serving.rayservice.actor import DeployedPublisher, PolicyHere
from pipelines.serving.rayservice.settings import ServiceSettings
from pipelines.serving.status import endpoints
from tests.pipelines.serving.test_following import Recorder, following


def test_nothing_is_known_of_an_endpoint_that_never_served(registry: Registry, versions: Sequence[str]) -> None:
    registry.promote(versions[0], "")
    follower, recorder = following(registry, [])
    assert not follower.resume()
    assert recorder.live == []


def test_it_goes_on_where_the_former_one_stopped(registry: Registry, versions: Sequence[str]) -> None:
    base, kto, dpo = versions
    registry.promote(base, "")
    former, _ = following(registry, [])
    former.start(None)
    registry.promote(kto, "")
    former.step()
    registry.promote(dpo, "")
    follower, recorder = following(registry, [])
    assert follower.resume()
    # Told as what is served; it is no publication and needs no trial.
    assert recorder.live == [kto] and recorder.tried == []
    (status,) = endpoints(registry.root)
    assert status.version == kto
    follower.step()
    assert recorder.live == [kto, dpo] and recorder.tried == [dpo]


def test_a_rollback_meanwhile_is_carried_out_without_a_trial(registry: Registry, versions: Sequence[str]) -> None:
    base, kto, _ = versions
    registry.promote(base, "")
    registry.promote(kto, "")
    former, _ = following(registry, [])
    former.start(None)
    registry.rollback("too many refusals")
    recorder = Recorder()
    follower = Follower(registry, recorder, lambda line: None, registry.clock)
    assert follower.resume()
    follower.step()
    assert recorder.live == [kto, base] and recorder.tried == []


def test_one_that_ended_well_leaves_nothing_to_go_on_with(registry: Registry, versions: Sequence[str]) -> None:
    registry.promote(versions[0], "")
    former, _ = following(registry, [])
    former.start(None)
    former.end()
    follower, _ = following(registry, [])
    assert not follower.resume()


def deployed(
    registry: Registry, config: PublisherConfig | None = None
) -> tuple[DeployedPublisher, Callable[[], PolicyRef | None]]:
    """A publisher, and what it says is published."""
    config = config or PublisherConfig()
    service = ServiceSettings(application="clinic", registry=registry.root, publish=config)
    published = PolicyHere(ActorAddress(actor="a", namespace="b"))
    endpoint = ServeEndpoint(config, service.address.namespace, app=service.application)
    return DeployedPublisher(service, published, endpoint), lambda: published.policy


def test_to_start_is_to_say_what_replicas_load(registry: Registry, versions: Sequence[str]) -> None:
    registry.promote(versions[0], "")
    publisher, published = deployed(registry)
    assert published() is None
    Follower(registry, publisher, lambda line: None, registry.clock).start(None)
    said = published()
    assert said is not None and said.version == versions[0]
    assert (Path(said.path) / "model.safetensors").is_file()


def test_a_policy_that_the_settings_do_not_fit_is_never_said(registry: Registry, versions: Sequence[str]) -> None:
    registry.promote(versions[0], "")
    publisher, published = deployed(registry, PublisherConfig(max_model_len=1_000_000))
    with pytest.raises(SalusError, match="max_model_len"):
        Follower(registry, publisher, lambda line: None, registry.clock).start(None)
    assert published() is None
    with pytest.raises(SalusError):
        publisher.start(PolicyRef(version="gone", path=str(registry.root / "nowhere")))


def test_each_application_has_a_follower_of_its_own(registry: Registry) -> None:
    one, two = (
        ServiceSettings(application=name, registry=registry.root, publish=PublisherConfig()) for name in ("a", "b")
    )
    assert one.address != two.address and one.address.namespace == two.address.namespace
