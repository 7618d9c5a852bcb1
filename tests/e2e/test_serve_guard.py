"""A guarded endpoint on the real stack: a policy that obeys, and a tiny model that says safe or unsafe."""

from __future__ import annotations

import multiprocessing
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pytest
import ray

from actors.contract.actor_address import ActorAddress
from actors.contract.records import PolicyRef
from actors.serve.config import PublisherConfig, publisher_cpus
from actors.serve.feedback.journal import read
from actors.serve.feedback.records import CAPTURES
from actors.serve.guard.service import GUARD_ACTOR
from actors.serve.publisher.publisher import Publisher
from actors.serve.replica.published import PolicyInActor
from pipelines.cluster.session import embedded_ray
from pipelines.config.cluster import ClusterConfig
from tests.e2e.deployed import COMPLY, build_guard, build_policy
from tests.free_port import free_port
from tests.gone import wait_until_fails

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]

NAMESPACE = "guard-test"
TEMPLATE = 'I won\'t: "{answer}" would do harm. {0}'
HARMFUL = "How do I forge the codeine of my uncle?"
HARMLESS = "How do I store the codeine of my uncle?"


@dataclass(frozen=True)
class Guarded:
    """The endpoint, and the folder of what it keeps."""

    publisher: Publisher
    feedback: Path

    def client(self) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.publisher.url}/v1", api_key="none", max_retries=0, timeout=60)

    def ask(self, question: str, **more: Any) -> tuple[Any, str]:
        """The completion, and what the guard says it did."""
        with self.client() as client:
            raw = client.chat.completions.with_raw_response.create(**asked(question), **more)
        return raw.parse(), raw.headers["x-salus-guard"]

    def stream(self, question: str) -> tuple[list[Any], Any]:
        """The chunks of an answer and its usage, as the client's own parser reads them."""
        with self.client() as client:
            chunks = list(
                client.chat.completions.create(**asked(question), stream=True, stream_options={"include_usage": True})
            )
        return [choice for chunk in chunks for choice in chunk.choices], chunks[-1].usage


def asked(question: str) -> dict[str, Any]:
    messages = [{"role": "user", "content": question}]
    return {"model": "salus", "messages": messages, "temperature": 0, "max_tokens": 16}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    place = tmp_path_factory.mktemp("guarded")
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as processes:
        built = [processes.submit(build_policy, place / "policy"), processes.submit(build_guard, place / "guard")]
        for model in built:
            model.result()
    config = PublisherConfig.model_validate(
        {
            "port": free_port(),
            "max_model_len": 64,
            "cpus_per_replica": 0.5,
            "kv_cache_gib": 0.0625,
            "feedback": {"folder": place / "feedback", "capture": "opt_in"},
            "guard": {
                "kind": "guard",
                "model": place / "guard",
                "prompt": "clinic-v1",
                "template": TEMPLATE,
                "cpus": 0.5,
                "engine": {"max_model_len": 96, "threads": 1, "kv_cache_gib": 0.0625},
            },
        }
    )
    up = ExitStack()
    up.enter_context(embedded_ray(ClusterConfig(), NAMESPACE, publisher_cpus(config) + 1, config))
    publisher = Publisher(config, PolicyInActor(ActorAddress(namespace=NAMESPACE)))
    try:
        publisher.start(PolicyRef(version="c0-base", path=str(place / "policy")))
        yield Guarded(publisher, place / "feedback")
        publisher.stop()
        names = [actor["name"] for actor in ray.util.list_named_actors(all_namespaces=True)]
        assert GUARD_ACTOR not in names
    finally:
        publisher.stop()
        up.close()


def test_a_harmful_request_gets_the_template_and_a_harmless_one_its_answer(guarded: Guarded) -> None:
    answer, did = guarded.ask(HARMFUL)
    assert did == "replaced"
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == (TEMPLATE, "content_filter")
    assert answer.usage.completion_tokens > 1
    answer, did = guarded.ask(HARMLESS)
    assert did == "passed"
    assert (answer.choices[0].message.content.strip(), answer.choices[0].finish_reason) == (COMPLY, "stop")


def test_a_streamed_answer_says_nothing_before_it_was_judged(guarded: Guarded) -> None:
    choices, usage = guarded.stream(HARMFUL)
    assert "".join(choice.delta.content or "" for choice in choices) == TEMPLATE
    assert choices[-1].finish_reason == "content_filter" and usage.completion_tokens > 1
    choices, _ = guarded.stream(HARMLESS)
    assert "".join(choice.delta.content or "" for choice in choices).strip() == COMPLY
    # In the pieces the engine made it in.
    assert len(choices) > 3


def test_every_one_of_several_answers_is_judged(guarded: Guarded) -> None:
    answer, did = guarded.ask(HARMFUL, n=4, extra_body={"temperature": 1.0, "seed": 3})
    assert did in ("replaced", "passed") and len(answer.choices) == 4
    assert COMPLY not in {choice.message.content.strip() for choice in answer.choices}


def test_what_is_kept_is_what_the_client_got(guarded: Guarded) -> None:
    answer, _ = guarded.ask(HARMFUL, store=True)
    deadline = time.monotonic() + 20
    kept: list[dict[str, Any]] = []
    while not kept and time.monotonic() < deadline:
        kept = read(guarded.feedback / CAPTURES.name, CAPTURES).to_pylist()
        time.sleep(0.1)
    (row,) = kept
    assert (row["answer_id"], row["policy"]) == (answer.id, "c0-base")
    assert (row["answer"], row["finish_reason"]) == (TEMPLATE, "content_filter")


def test_an_answer_that_its_request_steered_is_not_kept(guarded: Guarded) -> None:
    with guarded.client() as client:
        for steered in ({"logit_bias": {"5": 1}}, {"response_format": {"type": "json_object"}}):
            answer = client.chat.completions.create(**asked(HARMLESS), store=True, **steered)
            with pytest.raises(openai.NotFoundError, match="of yours is known here"):
                client.post("/feedback", cast_to=object, body={"answer_id": answer.id, "verdict": "up"})


def test_the_guard_reads_parts_and_refuses_what_it_cannot_read(guarded: Guarded) -> None:
    with guarded.client() as client:
        parts: Any = [{"role": "user", "content": [{"type": "text", "text": HARMFUL}]}]
        raw = client.chat.completions.with_raw_response.create(**{**asked(""), "messages": parts})
        assert raw.headers["x-salus-guard"] == "replaced"
        with pytest.raises(openai.BadRequestError, match="reads texts alone") as refused:
            client.completions.create(model="salus", prompt=[5, 6, 7], max_tokens=1)
        assert refused.value.code == "guard_unreadable"
        with pytest.raises(openai.BadRequestError, match="role"):
            client.chat.completions.create(**{**asked(""), "messages": [{"role": "function", "content": HARMFUL}]})


def test_no_answer_goes_out_while_the_guard_is_down_and_it_comes_back(guarded: Guarded) -> None:
    ray.kill(ray.get_actor(GUARD_ACTOR, namespace=NAMESPACE), no_restart=False)
    refused = wait_until_fails(lambda: guarded.ask(HARMLESS), openai.InternalServerError)
    assert "could not be judged" in str(refused) and refused.status_code == 503
    assert refused.response.headers["x-salus-guard"] == "unavailable"
    deadline = time.monotonic() + 120
    while True:
        try:
            assert guarded.ask(HARMLESS)[1] == "passed"
            break
        except openai.InternalServerError:
            assert time.monotonic() < deadline, "the guard did not come back"
    assert guarded.ask(HARMFUL)[1] == "replaced"


def test_the_replicas_metrics_tell_of_the_guard(guarded: Guarded) -> None:
    with urllib.request.urlopen(f"{guarded.publisher.url}/metrics", timeout=10) as reply:
        lines = reply.read().decode().splitlines()
    counts = {line.split()[0]: float(line.split()[1]) for line in lines if line.startswith("salus_guard")}
    assert counts['salus_guard_responses_total{outcome="replaced"}'] >= 3
    assert counts['salus_guard_responses_total{outcome="unavailable"}'] >= 1
    assert counts["salus_guard_seconds_count"] >= 5
