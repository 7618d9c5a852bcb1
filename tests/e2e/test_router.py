"""Two named policies of different shapes behind one endpoint, and a change of one's base model under traffic."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pytest
from ray import serve

from actors.contract.records import PolicyRef
from actors.errors import SalusError
from actors.serve.config import PublisherConfig, publisher_cpus
from actors.serve.feedback.config import FeedbackConfig
from actors.serve.feedback.journal import read
from actors.serve.feedback.records import FEEDBACK
from actors.serve.gateway.config import GatewayConfig
from actors.serve.gateway.keys import KeyFile
from actors.serve.router.endpoint import start_router, stop_router
from actors.serve.router.fits import EngineSettings, engine_config
from actors.serve.router.models import RoutedTraffic
from actors.serve.router.publisher import RoutedPublisher, routed_publisher
from pipelines.cluster.session import embedded_ray
from pipelines.config.cluster import ClusterConfig
from tests.e2e.test_publisher_serve import QUESTIONS, greedy_tokens, misshapen
from tests.e2e.test_serving import EXTRA, Traffic, check_order, swap
from tests.free_port import free_port
from tests.tiny_model import make_tiny_model

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(1200)]

NAMESPACE = "router-test"


def policy(folder: Path, version: str, seed: int, *, hidden: int = 128, layers: int = 2) -> PolicyRef:
    return PolicyRef(version=version, path=str(make_tiny_model(folder / version, seed, hidden=hidden, layers=layers)))


@dataclass(frozen=True)
class Ward:
    """One endpoint with the models `clinic` and `ward`, a client's key to it, and what each policy answers."""

    config: PublisherConfig
    key: str
    clinic: RoutedPublisher
    ward: RoutedPublisher
    policies: dict[str, PolicyRef]
    expected: dict[str, list[list[int]]]
    feedback: Path
    # What some versions need that others do not.
    engines: dict[str, EngineSettings]

    def client(self) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.config.url}/v1", api_key=self.key, timeout=60, max_retries=0)

    def get(self, path: str, key: str | None) -> Any:
        headers = {"Authorization": f"Bearer {key}"} if key is not None else {}
        with urllib.request.urlopen(
            urllib.request.Request(self.config.url + path, headers=headers), timeout=30
        ) as reply:
            return json.load(reply)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ward]:
    folder = tmp_path_factory.mktemp("router")
    policies = {
        each.version: each
        for each in (
            policy(folder, "a", 1),
            policy(folder, "b", 2),
            policy(folder, "wide", 3, hidden=192),
            policy(folder, "deep", 4, layers=3),
        )
    }
    engines: dict[str, EngineSettings] = {}
    keys = folder / "keys.jsonl"
    key = KeyFile(keys).add("nurse", "client")
    config = PublisherConfig(
        proxy="haproxy",
        router=True,
        router_replicas=2,
        port=free_port(),
        cpus_per_replica=0.5,
        kv_cache_gib=0.0625,
        max_model_len=128,
        gateway=GatewayConfig(keys_file=keys, requests_per_minute=None, extra_fields={"client": EXTRA}),
    )
    # Two models, the next application of one of them, and the task that builds it.
    up = ExitStack()
    up.enter_context(embedded_ray(ClusterConfig(), NAMESPACE, 3 * publisher_cpus(config) + 1, config))

    def publisher(name: str) -> RoutedPublisher:
        named = config.model_copy(
            update={"model_id": name, "feedback": FeedbackConfig(folder=folder / "feedback" / name, capture="opt_in")}
        )
        return routed_publisher(
            named, NAMESPACE, lambda policy: engine_config(named, engines.get(policy.version, EngineSettings()))
        )

    clinic, ward = publisher("clinic"), publisher("ward")
    try:
        start_router(config, NAMESPACE)
        clinic.start(policies["a"])
        ward.start(policies["deep"])
        expected = {each.version: [greedy_tokens(each, q) for q in QUESTIONS] for each in policies.values()}
        yield Ward(config, key, clinic, ward, policies, expected, folder / "feedback", engines)
    finally:
        clinic.stop()
        ward.stop()
        stop_router(NAMESPACE)
        up.close()


def test_each_model_answers_openais_client_whole_and_streamed(stack: Ward) -> None:
    with stack.client() as client:
        assert [model.id for model in client.models.list()] == ["clinic", "ward"]
        assert client.models.retrieve("ward").id == "ward"
        for model, version in (("clinic", "a"), ("ward", "deep")):
            messages: Any = [{"role": "user", "content": QUESTIONS[1]}]
            raw = client.chat.completions.with_raw_response.create(
                model=model, messages=messages, temperature=0, max_tokens=8
            )
            assert raw.headers["x-salus-policy"] == version and len(raw.headers["x-request-id"]) > 8
            whole = raw.parse()
            assert whole.id.startswith(f"chatcmpl-{model}-") and whole.model == model
            stream = client.chat.completions.create(
                model=model, messages=messages, temperature=0, max_tokens=8, stream=True
            )
            parts = [chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices]
            assert len(parts) > 1 and "".join(parts) == whole.choices[0].message.content


def test_what_a_client_may_get_wrong(stack: Ward) -> None:
    messages: Any = [{"role": "user", "content": "Hello"}]
    with stack.client() as client, pytest.raises(openai.NotFoundError, match="`nobody` does not exist") as unknown:
        client.chat.completions.create(model="nobody", messages=messages)
    assert unknown.value.code == "model_not_found"
    for path in ("/v1/models", "/metrics", "/_/clinic-1/v1/models", "/_/ward-1/metrics", "/tokenize"):
        with pytest.raises(urllib.error.HTTPError, match="401"):
            stack.get(path, None)
    assert stack.get("/ready", None) == {"ready": True}


def test_the_traffic_of_all_models_is_counted_together(stack: Ward) -> None:
    traffic = asyncio.run(RoutedTraffic(stack.config, NAMESPACE).traffic())
    assert traffic is not None and traffic.requests >= 4 and traffic.errors == 0


def test_without_room_for_both_nothing_is_started(stack: Ward) -> None:
    applications = set(serve.status().applications)
    stack.engines["b"] = EngineSettings(cpus_per_replica=64)
    with pytest.raises(SalusError, match=r"b needs an application beside that of a until it answers: 64 logical CPUs"):
        stack.clinic.publish(stack.policies["b"], 1)
    del stack.engines["b"]
    assert set(serve.status().applications) == applications


def test_feedback_finds_the_model_that_answered(stack: Ward) -> None:
    with stack.client() as client:
        answer = client.chat.completions.create(
            model="ward", messages=[{"role": "user", "content": QUESTIONS[0]}], max_tokens=4, store=True
        )
    body = json.dumps({"answer_id": answer.id, "verdict": "down"}).encode()
    headers = {"Authorization": f"Bearer {stack.key}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{stack.config.url}/v1/feedback", data=body, headers=headers)
    with urllib.request.urlopen(request, timeout=30) as reply:
        assert json.load(reply)["answer_id"] == answer.id
    kept = read(stack.feedback / "ward" / FEEDBACK.name, FEEDBACK).to_pylist()
    assert [(row["answer_id"], row["policy"]) for row in kept] == [(answer.id, "deep")]
    assert read(stack.feedback / "clinic" / FEEDBACK.name, FEEDBACK).num_rows == 0


def test_a_policy_that_fits_is_swapped_in_place(stack: Ward) -> None:
    applications = set(serve.status().applications)
    assert stack.clinic.publish(stack.policies["b"], 1).swap_s < 10
    assert stack.clinic.publish(stack.policies["a"], 0, trial=False).version == "a"
    assert set(serve.status().applications) == applications


def test_a_base_that_does_not_load_leaves_the_old_one(stack: Ward, tmp_path: Path) -> None:
    broken = misshapen(policy(tmp_path, "broken", 5, hidden=192))
    applications = set(serve.status().applications)
    with pytest.raises(SalusError, match="broken could not be published and a stays"):
        stack.clinic.publish(broken, 2)
    assert stack.clinic.served_version() == "a"
    assert set(serve.status().applications) == applications


def test_another_base_model_takes_over_and_nothing_is_lost_or_mixed(stack: Ward) -> None:
    clinic = Traffic(stack.config.url, stack.key, "clinic").start()
    ward = Traffic(stack.config.url, stack.key, "ward", 2).start()
    time.sleep(5)
    swaps = [swap(lambda: stack.clinic.publish(stack.policies["wide"], 3), "wide")]
    time.sleep(3)
    swaps.append(swap(lambda: stack.clinic.publish(stack.policies["a"], 0, trial=False), "a"))
    time.sleep(3)
    answers, others = clinic.stop(), ward.stop()
    print(f"{len(answers)} requests to the model that moved, {len(others)} to the other; moves took")
    print(", ".join(f"{each.ended - each.began:.1f} s" for each in swaps))
    slowest = sorted(answer.done - answer.sent for answer in answers)[-1]
    print(f"slowest answer {slowest:.2f} s")
    assert [answer for answer in (*answers, *others) if answer.version is None] == []
    assert {answer.version for answer in others} == {"deep"}
    assert {answer.version for answer in answers} == {"a", "wide"}
    for answer in (*answers, *others):
        assert answer.version and answer.tokens == stack.expected[answer.version][answer.question]
    check_order(answers, swaps, first="a")
