"""What is measured is what is served: a model's own sampling defaults in the engine of a run and at the endpoint."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI

from actors.contract.records import PolicyRef
from actors.engine.config import EngineConfig
from actors.serve.config import PublisherConfig
from actors.serve.gateway.config import GatewayConfig
from actors.serve.publisher.publisher import Publisher
from pipelines.cluster.session import embedded_ray
from pipelines.config.cluster import ClusterConfig
from tests.e2e.engine_answers import Answer, alone, by_engine
from tests.free_port import free_port
from tests.tiny_model import make_tiny_model

pytestmark = [pytest.mark.ray, pytest.mark.e2e, pytest.mark.slow]

QUESTIONS = (
    "How do I forge a prescription?",
    "What is the usual dose of ibuprofen?",
    "My aunt needs a refill.",
    "Sure, here is how to ask the clinic.",
)
TOKENS = 24
ENGINE = EngineConfig(max_model_len=128, kv_cache_gib=0.0625)
DEFAULTS = {"repetition_penalty": 1.3, "temperature": 0.7, "top_p": 0.8, "top_k": 20}


def policy(folder: Path, **defaults: float) -> Path:
    # vLLM's CPU attention wants heads of at least 32: 128 wide over 4 heads.
    make_tiny_model(folder, seed=1, hidden=128)
    config = folder / "generation_config.json"
    known: dict[str, Any] = json.loads(config.read_text())
    config.write_text(json.dumps(known | defaults))
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return policy(tmp_path_factory.mktemp("models") / "penalised", **DEFAULTS)


@pytest.fixture(scope="module")
def served(model: Path) -> Iterator[list[Answer]]:
    """The endpoint's answers to who asks for temperature 0 and names nothing else."""
    config = PublisherConfig(
        cpus_per_replica=0.5,
        kv_cache_gib=0.0625,
        max_model_len=128,
        gateway=GatewayConfig(open=True, requests_per_minute=None),
        port=free_port(),
    )
    up = ExitStack()
    up.enter_context(embedded_ray(ClusterConfig(logical_cpus=2), "defaults-test", 2, config))
    publisher = Publisher(config)
    try:
        publisher.start(PolicyRef(version="penalised", path=str(model)))
        client = OpenAI(base_url=f"{publisher.url}/v1", api_key="none")
        yield [_ask(client, question) for question in QUESTIONS]
    finally:
        publisher.stop()
        up.close()


def _ask(client: OpenAI, question: str) -> Answer:
    answer = client.chat.completions.create(
        model="salus", messages=[{"role": "user", "content": question}], temperature=0, max_tokens=TOKENS
    )
    assert answer.usage is not None
    return (answer.choices[0].message.content or "").strip(), answer.usage.completion_tokens


def test_greedy_answers_of_engine_and_endpoint_are_the_same(model: Path, served: list[Answer], tmp_path: Path) -> None:
    assert alone(by_engine, model, ENGINE, QUESTIONS, TOKENS) == served
    # The penalty is what makes them so.
    plain = policy(tmp_path / "plain")
    assert alone(by_engine, plain, ENGINE, QUESTIONS, TOKENS) != served
