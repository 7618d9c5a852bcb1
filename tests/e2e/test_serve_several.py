"""`salus serve` with two named policies: one follows a registry over a change of base model, the other stays."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import openai
import psutil
import pytest
import yaml

from actors.serve.gateway.keys import KeyFile
from pipelines.registry.register import register_run
from pipelines.registry.store import Registry
from tests.e2e.serve_command import SALUS, START_S
from tests.free_port import free_port
from tests.pipelines.registry.published import publish_run

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(1200)]


@dataclass(frozen=True)
class Served:
    """An endpoint that a command serves, its registry, and versions of two base models there."""

    base: str
    key: str
    server: psutil.Popen
    log: Path
    registry: Registry
    narrow: str
    wide: tuple[str, str]

    def client(self) -> openai.OpenAI:
        return openai.OpenAI(base_url=self.base, api_key=self.key, max_retries=0, timeout=60)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    place = tmp_path_factory.mktemp("several")
    registry = Registry(place / "registry")
    runs = [publish_run(place / name, place / f"{name}-base", hidden) for name, hidden in (("a-s7", 32), ("b-s7", 96))]
    (narrow, *_), (_, *wide) = ([str(each.version) for each in register_run(run.root, registry)] for run in runs)
    registry.promote(narrow, "deployed")
    port = free_port()
    settings = {
        "publish": {
            **{"port": port, "replicas": 1, "cpus_per_replica": 0.5, "kv_cache_gib": 0.0625, "max_model_len": 128},
            "gateway": {"keys_file": str(place / "keys.jsonl"), "requests_per_minute": None},
        },
        "policies": {"clinic": {}, "ward": {"policy": wide[0], "publish": {"max_model_len": 64}}},
    }
    (place / "serve.yaml").write_text(yaml.safe_dump(settings))
    key = KeyFile(place / "keys.jsonl").add("nurse", "client")
    log = place / "serve.log"
    command = [*SALUS, "serve", "--registry", str(registry.root), "--settings", str(place / "serve.yaml")]
    with log.open("w") as out:
        server = psutil.Popen(command, stdout=out, stderr=out, start_new_session=True)
        try:
            made = Served(f"http://127.0.0.1:{port}/v1", key, server, log, registry, narrow, (wide[0], wide[1]))
            wait_until_said(made, "until Ctrl-C")
            yield made
        finally:
            if server.is_running():
                os.killpg(server.pid, signal.SIGKILL)


def wait_until_said(served: Served, words: str) -> None:
    deadline = time.monotonic() + START_S
    while words not in served.log.read_text():
        assert served.server.poll() is None and time.monotonic() < deadline, served.log.read_text()
        time.sleep(0.2)


@dataclass
class Asking:
    """Asks one model all the time, and notes which policies answered, in order. Any fault ends it."""

    served: Served
    model: str
    versions: list[str] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)
    fault: Exception | None = None

    def start(self) -> Asking:
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def stop(self) -> list[str]:
        self.over.set()
        self._thread.join()
        assert self.fault is None, self.fault
        return self.versions

    def _run(self) -> None:
        with self.served.client() as client:
            while not self.over.is_set():
                try:
                    raw = client.chat.completions.with_raw_response.create(
                        model=self.model,
                        messages=[{"role": "user", "content": "My aunt needs a refill."}],
                        max_tokens=4,
                    )
                    version = raw.headers["x-salus-policy"]
                except openai.OpenAIError as error:
                    self.fault = error
                    return
                if self.versions[-1:] != [version]:
                    self.versions.append(version)


def test_each_is_asked_by_its_name(served: Served) -> None:
    with served.client() as client:
        assert [model.id for model in client.models.list()] == ["clinic", "ward"]
    said = served.log.read_text()
    assert f"clinic: {served.narrow}, ward: {served.wide[0]} at {served.base} until Ctrl-C" in said


def test_a_promotion_of_another_base_and_a_rollback_go_live_and_lose_nothing(served: Served) -> None:
    clinic, ward = Asking(served, "clinic").start(), Asking(served, "ward").start()
    served.registry.promote(served.wide[1], "larger")
    wait_until_said(served, f"clinic: {served.wide[1]} is live")
    time.sleep(1)
    back = subprocess.run(
        [*SALUS, "rollback", "--registry", str(served.registry.root), "--reason", "slow", "--wait", "240"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert f"{served.narrow} is live again at " in back.stdout and "(model clinic)" in back.stdout
    time.sleep(1)
    assert clinic.stop() == [served.narrow, served.wide[1], served.narrow]
    assert ward.stop() == [served.wide[0]]


def test_it_ends_when_told_and_leaves_nothing(served: Served) -> None:
    started = [served.server, *served.server.children(recursive=True)]
    served.server.send_signal(signal.SIGTERM)
    assert served.server.wait(timeout=180) == 0, served.log.read_text()
    assert psutil.wait_procs(started, timeout=60)[1] == []
    assert list((served.registry.root / "serving").glob("*.json")) == []
    assert "Traceback" not in served.log.read_text()
