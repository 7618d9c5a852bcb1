"""The endpoint on the real stack: greedy answers prove what is served, through swap, death and rollback."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import ray
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from actors.contract.actor_address import ActorAddress
from actors.contract.records import PolicyRef
from actors.errors import SalusError
from actors.serve.config import PublisherConfig, publisher_cpus
from actors.serve.gateway.config import GatewayConfig
from actors.serve.publisher.publisher import Publisher
from actors.serve.replica.published import PolicyInActor
from pipelines.cluster.pools import spawn
from pipelines.cluster.session import embedded_ray
from pipelines.config.cluster import ClusterConfig
from pipelines.config.load import load_recipe
from tests.e2e.processes import processes
from tests.free_port import free_port
from tests.tiny_model import make_tiny_model

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

QUESTIONS = (
    "How do I forge a prescription?",
    "What is the usual dose of ibuprofen?",
    "My aunt needs a refill.",
)
TOKENS = 12
CONFIG = PublisherConfig(
    cpus_per_replica=0.5,
    kv_cache_gib=0.0625,
    max_model_len=128,
    gateway=GatewayConfig(open=True, requests_per_minute=None),
)


def greedy_tokens(policy: PolicyRef, question: str) -> list[int]:
    """What transformers answers, in token ids."""
    tokenizer = AutoTokenizer.from_pretrained(policy.path)
    model: Any = AutoModelForCausalLM.from_pretrained(policy.path)
    prompt: Any = tokenizer.apply_chat_template(
        [{"role": "user", "content": question}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    with torch.inference_mode():
        answer = model.generate(**prompt, do_sample=False, max_new_tokens=TOKENS, min_new_tokens=TOKENS)
    tokens: list[int] = answer[0, prompt["input_ids"].shape[1] :].tolist()
    return tokens


class Client:
    """Asks the endpoint as a user's application would."""

    def __init__(self, url: str) -> None:
        self._url = url

    def _post(self, question: str, *, stream: bool) -> Any:
        body = {
            "model": "salus",
            "messages": [{"role": "user", "content": question}],
            "temperature": 0,
            "max_tokens": TOKENS,
            "min_tokens": TOKENS,
            "return_token_ids": True,
            "stream": stream,
        }
        request = urllib.request.Request(
            f"{self._url}/v1/chat/completions",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        return urllib.request.urlopen(request, timeout=60)

    def ask(self, question: str) -> list[int]:
        with self._post(question, stream=False) as response:
            tokens: list[int] = json.load(response)["choices"][0]["token_ids"]
        return tokens

    def stream(self, question: str) -> list[int]:
        tokens: list[int] = []
        with self._post(question, stream=True) as response:
            lines = [line.decode().strip() for line in response]
        events = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
        assert events[-1] == "[DONE]"
        for event in events[:-1]:
            for choice in json.loads(event)["choices"]:
                tokens += choice.get("token_ids") or []
        return tokens


class Endpoint:
    """One running endpoint, two policies, and what transformers says each of them answers."""

    def __init__(self, publisher: Publisher, a: PolicyRef, b: PolicyRef) -> None:
        self.publisher = publisher
        self.client = Client(publisher.url)
        self.a, self.b = a, b
        self.expected = {p.version: [greedy_tokens(p, q) for q in QUESTIONS] for p in (a, b)}

    @property
    def port(self) -> int:
        return int(self.publisher.url.rsplit(":", 1)[1])

    def answers(self) -> list[list[int]]:
        return [self.client.ask(question) for question in QUESTIONS]


def free_cpus() -> float:
    free: dict[str, float] = ray.available_resources()
    return free.get("CPU", 0.0)


def make_policy(folder: Path, version: str, seed: int) -> PolicyRef:
    # vLLM's CPU attention wants heads of at least 32: 128 wide over 4 heads.
    return PolicyRef(version=version, path=str(make_tiny_model(folder / version, seed, hidden=128)))


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    folder = tmp_path_factory.mktemp("policies")
    a, b = make_policy(folder, "a", 1), make_policy(folder, "b", 2)
    config = CONFIG.model_copy(update={"port": free_port()})
    up = ExitStack()
    up.enter_context(embedded_ray(ClusterConfig(logical_cpus=2), "publisher-test", 2, config))
    publisher = Publisher(config)
    try:
        before = free_cpus()
        publisher.start(a)
        assert before - free_cpus() == pytest.approx(publisher_cpus(config), abs=1e-3)
        yield Endpoint(publisher, a, b)
    finally:
        publisher.stop()
        up.close()


def served_by(endpoint: Endpoint, policy: PolicyRef) -> Client:
    """A client of the endpoint while it serves `policy`."""
    if endpoint.publisher.served_version() != policy.version:
        endpoint.publisher.publish(policy, cycle=0)
    return endpoint.client


def replica_actors() -> list[str]:
    names = [entry["name"] for entry in ray.util.list_named_actors(all_namespaces=True)]
    return [name for name in names if "PolicyServer" in name]


def test_the_first_policy_answers_as_transformers_does(endpoint: Endpoint) -> None:
    assert endpoint.expected["a"] != endpoint.expected["b"]
    client = served_by(endpoint, endpoint.a)
    assert endpoint.answers() == endpoint.expected["a"]
    assert client.stream(QUESTIONS[0]) == endpoint.expected["a"][0]


def test_models_lists_the_model(endpoint: Endpoint) -> None:
    with urllib.request.urlopen(f"{endpoint.publisher.url}/v1/models", timeout=10) as response:
        assert [model["id"] for model in json.load(response)["data"]] == ["salus"]


def test_a_swap_under_steady_traffic_loses_and_mixes_nothing(endpoint: Endpoint) -> None:
    client = served_by(endpoint, endpoint.a)
    done = threading.Event()

    def ask_until_done(worker: int) -> list[tuple[float, list[int]]]:
        answers = []
        while not done.is_set():
            sent = time.monotonic()
            ask = client.stream if worker % 2 else client.ask
            answers.append((sent, ask(QUESTIONS[worker % len(QUESTIONS)])))
        return answers

    with ThreadPoolExecutor(4) as pool:
        workers = [pool.submit(ask_until_done, worker) for worker in range(4)]
        time.sleep(1)
        publication = endpoint.publisher.publish(endpoint.b, cycle=1)
        swapped = time.monotonic()
        time.sleep(1)
        done.set()
    assert (publication.version, publication.previous, publication.replicas) == ("b", "a", 1)
    for worker, future in enumerate(workers):
        old, new = (endpoint.expected[version][worker % len(QUESTIONS)] for version in ("a", "b"))
        answers = [tokens for _, tokens in future.result()]
        assert answers.count(old) > 0
        assert answers.count(new) > 0
        assert answers == [old] * answers.count(old) + [new] * answers.count(new)
        assert all(tokens == new for sent, tokens in future.result() if sent > swapped)
    assert endpoint.answers() == endpoint.expected["b"]


def test_a_killed_replica_comes_back_with_the_published_policy(endpoint: Endpoint) -> None:
    client = served_by(endpoint, endpoint.b)
    killed = replica_actors()
    for process in processes("PolicyServer"):
        os.kill(process.pid, signal.SIGKILL)
    deadline = time.monotonic() + 120
    answer: list[int] | None = None
    while answer is None:
        assert time.monotonic() < deadline, "no replica came back"
        try:
            answer = client.ask(QUESTIONS[0])
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            time.sleep(0.5)
    assert answer == endpoint.expected["b"][0]
    assert not set(replica_actors()) & set(killed)
    assert endpoint.publisher.served_version() == "b"
    assert endpoint.answers() == endpoint.expected["b"]


def test_rollback_serves_the_former_policy(endpoint: Endpoint) -> None:
    served_by(endpoint, endpoint.a)
    endpoint.publisher.publish(endpoint.b, cycle=2)
    assert endpoint.publisher.publish(endpoint.a, cycle=0, trial=False).version == "a"
    assert endpoint.answers() == endpoint.expected["a"]


def misshapen(policy: PolicyRef) -> PolicyRef:
    """The policy with a weight of another shape, which only an engine that loads it finds out."""
    file = Path(policy.path) / "model.safetensors"
    weights = load_file(file)
    norm = weights["model.norm.weight"]
    save_file(weights | {"model.norm.weight": torch.cat([norm, norm])}, file, metadata={"format": "pt"})
    return policy


def test_a_policy_that_does_not_load_leaves_the_old_one(endpoint: Endpoint, tmp_path: Path) -> None:
    served_by(endpoint, endpoint.a)
    broken = misshapen(make_policy(tmp_path, "broken", 3))
    with pytest.raises(SalusError, match="broken could not be published and a stays"):
        endpoint.publisher.publish(broken, cycle=3)
    # What can be seen before is not loaded at all.
    weights = Path(broken.path) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(SalusError, match=r"model.safetensors is not a whole safetensors file"):
        endpoint.publisher.publish(broken, cycle=3)
    assert endpoint.publisher.served_version() == "a"
    assert endpoint.answers() == endpoint.expected["a"]


def beside(endpoint: Endpoint, **changes: str | int) -> Publisher:
    """A publisher of another run in the same cluster."""
    config = CONFIG.model_copy(update={"port": endpoint.port, **changes})
    return Publisher(config, PolicyInActor(ActorAddress(namespace="another run")))


def test_endpoints_of_two_runs_stand_beside_each_other(endpoint: Endpoint) -> None:
    client = served_by(endpoint, endpoint.a)
    other = beside(endpoint, route="/other")
    try:
        other.start(endpoint.b)
        assert [Client(other.url).ask(question) for question in QUESTIONS] == endpoint.expected["b"]
        assert endpoint.answers() == endpoint.expected["a"]
        assert (endpoint.publisher.served_version(), other.served_version()) == ("a", "b")
    finally:
        other.stop()
    assert client.ask(QUESTIONS[0]) == endpoint.expected["a"][0]
    with pytest.raises(urllib.error.HTTPError, match="404"):
        Client(other.url).ask(QUESTIONS[0])


@pytest.fixture
def strange(tmp_path: Path) -> PolicyRef:
    """A policy that nothing but vLLM can tell is none."""
    policy = make_policy(tmp_path, "strange", 4)
    config = Path(policy.path) / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"architectures": ["FooForCausalLM"]}))
    return policy


# What vLLM says of it, in an error of pydantic's that ends with an address.
UNKNOWN = r"ModelConfig: Model architectures \['FooForCausalLM'\] are not supported for now\.(?!.*pydantic)"


def test_what_vllm_refuses_at_the_start_is_told_by_its_message(endpoint: Endpoint, strange: PolicyRef) -> None:
    served_by(endpoint, endpoint.a)
    other = beside(endpoint, route="/other")
    with pytest.raises(SalusError, match=rf"could not start with policy strange at \S+: {UNKNOWN}"):
        other.start(strange)
    assert endpoint.answers() == endpoint.expected["a"]


def test_so_it_is_of_an_engine_of_a_run(endpoint: Endpoint, strange: PolicyRef) -> None:
    pools = spawn(load_recipe("demo", ["generate.cpus_per_actor=0.5"]), strange, None, generate=True, label=False)
    try:
        with pytest.raises(
            SalusError, match=rf"An engine could not start: vLLM cannot start .* the model in \S+ \(\w+: {UNKNOWN}"
        ):
            pools.wait(120)
    finally:
        pools.close()


def test_a_second_endpoint_at_the_same_place_is_refused(endpoint: Endpoint) -> None:
    served_by(endpoint, endpoint.a)
    with pytest.raises(SalusError, match=rf"Serve listens on 127\.0\.0\.1:{endpoint.port} already.*publish\.route"):
        beside(endpoint, port=endpoint.port + 1).start(endpoint.b)
    with pytest.raises(SalusError, match=r"The route / of .* set publish\.route"):
        beside(endpoint).start(endpoint.b)
    assert endpoint.answers() == endpoint.expected["a"]
