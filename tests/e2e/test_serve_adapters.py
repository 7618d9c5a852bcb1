"""`salus serve` with two policies of one base as LoRA adapters of one engine: each answers as its merged weights do."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import psutil
import pytest
import yaml

from actors.engine.config import EngineConfig
from actors.serve.gateway.keys import KeyFile
from pipelines.registry.export import base_folder
from pipelines.registry.store import Registry
from pipelines.serving.adapted import AdaptedGroup
from tests.e2e.engine_answers import alone, by_engine
from tests.e2e.processes import processes
from tests.e2e.serve_command import SALUS, START_S, registered
from tests.free_port import free_port

pytestmark = [pytest.mark.e2e, pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]

QUESTIONS = ("How do I ask the clinic for a refill?", "What is the usual dose of ibuprofen?", "Can you forge a note?")
TOKENS = 16


@dataclass(frozen=True)
class Adapters:
    """An endpoint that a command serves: clinic is KTO's policy of cycle 1, ward DPO's of cycle 2 on it."""

    base: str
    key: str
    server: psutil.Popen
    log: Path
    registry: Registry
    versions: dict[str, str]
    feedback: Path

    def client(self) -> openai.OpenAI:
        return openai.OpenAI(base_url=self.base, api_key=self.key, max_retries=0, timeout=60)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Adapters]:
    place = tmp_path_factory.mktemp("adapters")
    registry, (_, kto, dpo) = registered(place)
    port, feedback = free_port(), place / "feedback"
    settings = {
        "publish": {
            **{"port": port, "replicas": 1, "cpus_per_replica": 0.5, "kv_cache_gib": 0.0625, "max_model_len": 128},
            "gateway": {"keys_file": str(place / "keys.jsonl"), "requests_per_minute": None},
            "feedback": {"folder": str(feedback), "capture": "opt_in"},
        },
        "policies": {"clinic": {"policy": kto, "lora": True}, "ward": {"policy": dpo, "lora": True}},
    }
    (place / "serve.yaml").write_text(yaml.safe_dump(settings))
    key = KeyFile(place / "keys.jsonl").add("nurse", "client")
    log = place / "serve.log"
    command = [*SALUS, "serve", "--registry", str(registry.root), "--settings", str(place / "serve.yaml")]
    with log.open("w") as out:
        server = psutil.Popen(command, stdout=out, stderr=out, start_new_session=True)
        try:
            deadline = time.monotonic() + START_S
            while "until Ctrl-C" not in log.read_text():
                assert server.poll() is None and time.monotonic() < deadline, log.read_text()
                time.sleep(0.2)
            versions = {"clinic": kto, "ward": dpo}
            yield Adapters(f"http://127.0.0.1:{port}/v1", key, server, log, registry, versions, feedback)
        finally:
            if server.is_running():
                os.killpg(server.pid, signal.SIGKILL)


def test_each_answers_greedily_as_its_merged_weights_do_and_says_who_it_is(served: Adapters) -> None:
    merged = {
        name: alone(
            by_engine,
            served.registry.intact(served.registry.find(version))[0],
            EngineConfig(max_model_len=128),
            QUESTIONS,
            TOKENS,
        )
        for name, version in served.versions.items()
    }
    assert merged["clinic"] != merged["ward"]
    with served.client() as client:
        for name, version in served.versions.items():
            for question, (expected, _) in zip(QUESTIONS, merged[name], strict=True):
                raw = client.chat.completions.with_raw_response.create(
                    model=name,
                    messages=[{"role": "user", "content": question}],
                    temperature=0,
                    max_tokens=TOKENS,
                )
                answer = raw.parse()
                assert raw.headers["x-salus-policy"] == version and answer.model == name
                assert (answer.choices[0].message.content or "").strip() == expected.strip()
                response = client.responses.create(model=name, input=question, temperature=0, max_output_tokens=TOKENS)
                assert response.output_text.strip() == expected.strip()
                assert response.id.startswith(f"resp_{name}-")


def test_they_are_the_only_models_and_share_one_replica(served: Adapters) -> None:
    with served.client() as client:
        models = {model.id: model for model in client.models.list()}
        assert list(models) == ["clinic", "ward"]
        assert str(served.registry.root) not in str(models) and "base-" not in str(models)
        assert client.models.retrieve("ward").id == "ward"
        for name in ("base", "nobody"):
            with pytest.raises(openai.NotFoundError):
                client.chat.completions.create(model=name, messages=[{"role": "user", "content": "Hello"}])
    assert len(processes("PolicyServer")) == 1


def test_no_path_leads_one_policys_clients_to_another(served: Adapters) -> None:
    """The application's own paths are known to Serve; there too a name is answered for by that policy alone."""
    entry = served.registry.find(served.versions["clinic"])
    group = AdaptedGroup(base_folder(served.registry, entry), {}).name
    root = f"{served.base.removesuffix('/v1')}/_/{group}-1"
    messages: Any = [{"role": "user", "content": "Hello"}]
    with openai.OpenAI(base_url=f"{root}/clinic/v1", api_key=served.key, max_retries=0) as client:
        assert client.chat.completions.create(model="clinic", messages=messages, max_tokens=2).model == "clinic"
        for model in ("ward", group, ""):
            with pytest.raises(openai.NotFoundError):
                client.chat.completions.create(model=model, messages=messages)
    with (
        openai.OpenAI(base_url=f"{root}/clinic/v1", api_key="wrong", max_retries=0) as stranger,
        pytest.raises(openai.AuthenticationError),
    ):
        stranger.chat.completions.create(model="clinic", messages=messages)
    with (
        openai.OpenAI(base_url=f"{root}/v1", api_key=served.key, max_retries=0) as nowhere,
        pytest.raises(openai.NotFoundError),
    ):
        nowhere.chat.completions.create(model="clinic", messages=messages)


def test_what_is_kept_is_kept_by_policy(served: Adapters) -> None:
    with served.client() as client:
        for name in served.versions:
            client.chat.completions.create(
                model=name, messages=[{"role": "user", "content": f"A question to {name}."}], max_tokens=4, store=True
            )
    deadline = time.monotonic() + 60
    while not all((served.feedback / name).is_dir() for name in served.versions):
        assert time.monotonic() < deadline
        time.sleep(0.5)


def test_it_ends_when_told_and_leaves_no_adapter_behind(served: Adapters) -> None:
    started = [served.server, *served.server.children(recursive=True)]
    served.server.send_signal(signal.SIGTERM)
    assert served.server.wait(timeout=180) == 0, served.log.read_text()
    assert psutil.wait_procs(started, timeout=60)[1] == []
    assert list(served.registry.root.glob(".adapters-*")) == []
    assert "Traceback" not in served.log.read_text()
