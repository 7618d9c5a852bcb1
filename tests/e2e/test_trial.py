"""Smoke prompts and a canary on the real stack, under steady traffic: a spoilt policy never answers anybody."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from actors.contract.actor_address import ActorAddress
from actors.contract.publication import PublicationRefusedError
from actors.contract.records import PolicyRef
from actors.serve.config import CanaryConfig, SmokeConfig, SmokePrompt, publisher_cpus
from actors.serve.gateway.keys import KeyFile
from actors.serve.publisher.publisher import Publisher
from actors.serve.replica.published import PolicyInActor
from pipelines.cluster.session import embedded_ray
from pipelines.config.cluster import ClusterConfig
from tests.e2e.deployed import COMPLY, build_policy, requests
from tests.e2e.test_serving import Answered, Traffic, config_of_two

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]

CANARY_S = 6.0
PROMPTS = tuple(SmokePrompt(text=text, expect="answer", must_contain=(COMPLY,)) for text in requests(harm=False)[:6:2])


@dataclass(frozen=True)
class Endpoint:
    publisher: Publisher
    key: str
    a: PolicyRef
    # The same weights under another name.
    b: PolicyRef
    # The same shape, and nothing learnt.
    spoilt: PolicyRef


def spoil(folder: Path) -> None:
    """Every hidden state becomes nothing, so that all tokens are as likely: greedy answers repeat one for ever."""
    (weights,) = folder.glob("*.safetensors")
    tensors = load_file(weights)
    tensors["model.norm.weight"].zero_()
    save_file(tensors, weights, metadata={"format": "pt"})


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    folder = tmp_path_factory.mktemp("trial")
    a = build_policy(folder / "a")
    for name in ("b", "spoilt"):
        shutil.copytree(a, folder / name)
    spoil(folder / "spoilt")
    keys = folder / "keys.jsonl"
    key = KeyFile(keys).add("clinic", "client")
    config = config_of_two(
        keys,
        smoke=SmokeConfig(prompts=PROMPTS, max_tokens=24),
        # Two replicas, their clients and Ray share two cores: only what is plain counts as slow.
        canary=CanaryConfig(share=0.5, seconds=CANARY_S, max_slowdown=10.0),
    )
    up = ExitStack()
    up.enter_context(embedded_ray(ClusterConfig(), "trial-test", publisher_cpus(config) + 1, config))
    publisher = Publisher(config, PolicyInActor(ActorAddress(namespace="trial-test")))
    try:
        a_ref, b_ref, spoilt = (PolicyRef(version=v, path=str(folder / v)) for v in ("a", "b", "spoilt"))
        publisher.start(a_ref)
        yield Endpoint(publisher, key, a_ref, b_ref, spoilt)
    finally:
        publisher.stop()
        up.close()


def tokens(answers: list[Answered]) -> dict[int, set[tuple[int, ...]]]:
    """All that was answered to each question."""
    found: dict[int, set[tuple[int, ...]]] = {}
    for answer in answers:
        found.setdefault(answer.question, set()).add(tuple(answer.tokens))
    return found


def test_a_spoilt_policy_is_refused_and_a_sound_one_goes_live_while_clients_ask(endpoint: Endpoint) -> None:
    publisher = endpoint.publisher
    traffic = Traffic(publisher.url, endpoint.key).start()
    try:
        time.sleep(3)
        with pytest.raises(PublicationRefusedError, match=r"spoilt was refused \(smoke\) and a stays") as refused:
            publisher.publish(endpoint.spoilt, 1)
        refused_at = time.monotonic()
        time.sleep(3)
        assert publisher.replica_versions() == ["a", "a"]
        began = time.monotonic()
        publication = publisher.publish(endpoint.b, 2)
        ended = time.monotonic()
        time.sleep(3)
    finally:
        answers = traffic.stop()
    print(refused.value.sentence)
    print(f"{len(answers)} requests; {publication.trial} {publication.trial_s} s, swap {publication.swap_s} s")
    assert refused.value.refusal.step == "smoke" and "0 of 3 smoke prompts passed" in refused.value.sentence

    assert [answer for answer in answers if answer.version is None] == []
    assert {answer.version for answer in answers} == {"a", "b"}
    # Whatever the header said: what answered had the sound weights.
    assert all(len(said) == 1 for said in tokens(answers).values())
    assert {answer.version for answer in answers if answer.done < began} == {"a"}
    assert any(answer.sent > refused_at for answer in answers if answer.done < began)

    assert publication.trial is not None and publication.trial_s is not None and publication.trial_s >= CANARY_S
    assert "3 of 3 smoke prompts passed. The canary answered " in publication.trial
    # One replica each, for most of the canary's time.
    both = [x for x in answers if x.sent > began + 2 and x.done < began + CANARY_S]
    assert min(sum(x.version == version for x in both) for version in ("a", "b")) >= len(both) / 10
    assert {answer.version for answer in answers if answer.sent > ended} == {"b"}
    assert publisher.replica_versions() == ["b", "b"]


def test_a_rollback_takes_seconds_and_no_trial(endpoint: Endpoint) -> None:
    if endpoint.publisher.served_version() == "a":
        endpoint.publisher.publish(endpoint.b, 3, trial=False)
    began = time.monotonic()
    assert endpoint.publisher.publish(endpoint.a, 0, trial=False).trial is None
    assert time.monotonic() - began < CANARY_S
    assert endpoint.publisher.served_version() == "a"
