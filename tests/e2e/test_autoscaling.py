"""An endpoint under load: Ray Serve adds a replica, which serves the current policy; every answer leaves a trace."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import openai
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from actors.contract.actor_address import ActorAddress
from actors.serve.config import PublisherConfig, publisher_cpus
from actors.serve.gateway.config import GatewayConfig
from actors.serve.gateway.keys import KeyFile
from actors.serve.publisher.publisher import Publisher
from actors.serve.replica.published import PolicyInActor
from actors.serve.scaling import ReplicaScaling
from pipelines.cluster.session import embedded_ray
from pipelines.config.cluster import ClusterConfig
from tests.e2e.test_publisher_serve import make_policy
from tests.free_port import free_port

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

QUESTION = "Where do I put the spare ampoules?"
# Requests under way at a time; one replica is to have one.
CLIENTS = 6


class Traces:
    """A collector of OTLP traces over HTTP, as far as vLLM speaks to it."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.bodies: list[bytes] = []

    @contextmanager
    def listening(self) -> Iterator[str]:
        collected = self

        class Collector(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                collected.bodies.append(body)
                for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                    for scope in resource.scope_spans:
                        collected.spans += scope.spans
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                """Quiet."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/v1/traces"
        finally:
            server.shutdown()
            server.server_close()


class Load:
    """Clients that ask without pause until told; the policy of each answer, and what failed."""

    def __init__(self, base: str, key: str) -> None:
        self._base, self._key = base, key
        self._over = threading.Event()
        self._pool = ThreadPoolExecutor(CLIENTS)
        self._running: list[Future[None]] = []
        # When each answer's request was sent, the policy it names, and its id.
        self.answers: list[tuple[float, str, str]] = []

    def start(self) -> Load:
        self._running = [self._pool.submit(self._ask) for _ in range(CLIENTS)]
        return self

    def end(self) -> None:
        self._over.set()
        for each in self._running:
            each.result()

    def _ask(self) -> None:
        with openai.OpenAI(base_url=self._base, api_key=self._key, timeout=120, max_retries=0) as client:
            while not self._over.is_set():
                sent = time.monotonic()
                raw = client.chat.completions.with_raw_response.create(
                    model="salus",
                    messages=[{"role": "user", "content": QUESTION}],
                    max_tokens=96,
                    extra_body={"min_tokens": 96},
                )
                self.answers.append((sent, raw.headers["x-salus-policy"], raw.parse().id))


def until(true: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.5)


def test_a_replica_that_load_adds_serves_the_current_policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_SERVE_REPLICA_AUTOSCALING_METRIC_PUSH_INTERVAL_S", "0.5")
    monkeypatch.setenv("RAY_SERVE_HANDLE_AUTOSCALING_METRIC_PUSH_INTERVAL_S", "0.5")
    first, second, third = (make_policy(tmp_path, name, seed) for seed, name in enumerate(("a", "b", "c")))
    keys = tmp_path / "keys.jsonl"
    key = KeyFile(keys).add("clinic", "client")
    traces = Traces()
    with ExitStack() as up:
        config = PublisherConfig(
            # As `salus serve` has it: replicas answer HTTP themselves.
            proxy="haproxy",
            port=free_port(),
            autoscaling=ReplicaScaling(
                max_replicas=2, target_ongoing_requests=1, upscale_delay_s=1, look_back_period_s=2
            ),
            cpus_per_replica=0.5,
            kv_cache_gib=0.0625,
            max_model_len=256,
            gateway=GatewayConfig(keys_file=keys, requests_per_minute=None, extra_fields={"client": ("min_tokens",)}),
            otlp_traces_endpoint=up.enter_context(traces.listening()),
            otlp_traces_protocol="http/protobuf",
        )
        up.enter_context(embedded_ray(ClusterConfig(), "scaling-test", publisher_cpus(config) + 1, config))
        publisher = Publisher(config, PolicyInActor(ActorAddress(namespace="scaling-test")))
        up.callback(publisher.stop)
        assert publisher.start(first).replicas == 1
        publisher.publish(second, cycle=1)
        # What the endpoint was started with is gone: a replica that kept to it could not even start.
        shutil.rmtree(first.path)
        assert publisher.replica_versions() == ["b"]
        load = Load(f"{publisher.url}/v1", key).start()
        up.callback(load.end)
        until(lambda: publisher.replica_versions() == ["b", "b"], 150)
        assert {version for _, version, _ in load.answers} == {"b"}
        # Both go on together, and no answer of the old policy follows one of the new.
        assert publisher.publish(third, cycle=2).replicas == 2
        swapped = time.monotonic()
        time.sleep(2)
        load.end()
        assert publisher.replica_versions() == ["c", "c"]
        later = [version for sent, version, _ in load.answers if sent > swapped]
        assert later and set(later) == {"c"}
        ids = {each for _, _, each in load.answers}
        until(lambda: len(traced(traces) & ids) > len(ids) // 2, 30)
    assert not any(QUESTION.encode() in body for body in traces.bodies)


def traced(traces: Traces) -> set[str]:
    """The ids of the answers that spans are of."""
    found = set()
    for span in traces.spans:
        values = {each.key: each.value.string_value for each in span.attributes}
        if span.name == "llm_request" and "gen_ai.request.id" in values:
            found.add(values["gen_ai.request.id"])
    return found
