"""The endpoint against bare vLLM: the same model, settings, machine and load, one after the other in one run.

    python -m tests.benchmarks.serving
    python -m tests.benchmarks.serving --set proxy=serve --rounds 3
    python -m tests.benchmarks.serving --set router=true

Prints requests per second and latencies at 8 and at 32 clients, each the median of some rounds, and their ratio.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from actors.gateway.key_file import KeyFile
from actors.policy_app import engine_arguments, replica_environment
from actors.policy_desk import DeskAddress, OwnDesk
from actors.publisher import Publisher
from actors.publisher_config import PublisherConfig, publisher_cpus
from actors.records import PolicyRef
from actors.router.endpoint import start_router, stop_router
from actors.router.on_serve import routed_publisher
from actors.router.publisher import RoutedPublisher
from actors.serve_proxy import proxy_environment
from pipelines.config.sections import ClusterConfig
from pipelines.session import start_embedded
from tests.benchmarks.load import Load
from tests.free_port import free_port
from tests.tiny_model import make_tiny_model

CLIENTS = (8, 32)
NAMESPACE = "salus-serving"
LOAD = Path(__file__).parent / "load.py"
START_S = 180.0


def loads(base: str, key: str, rounds: int, requests: int) -> dict[int, list[Load]]:
    """Each number of clients in turn, `rounds` times; the first round of all only warms up."""
    measured: dict[int, list[Load]] = {clients: [] for clients in CLIENTS}
    _load(base, key, CLIENTS[-1], requests // 4)
    for _ in range(rounds):
        for clients in CLIENTS:
            measured[clients].append(_load(base, key, clients, requests))
    return measured


def _load(base: str, key: str, clients: int, requests: int) -> Load:
    command = [sys.executable, str(LOAD), base, "--clients", str(clients), "--requests", str(requests), "--key", key]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return Load(**json.loads(done.stdout))


@contextmanager
def bare(config: PublisherConfig, model: Path) -> Iterator[str]:
    """vLLM's own server, as its users start it, with the replica's engine settings and threads."""
    arguments = [part for name, value in engine_arguments(config).items() for part in _flag(name, value)]
    environment = os.environ | replica_environment(config)
    # What a user has: the engine core in a process of its own.
    del environment["VLLM_ENABLE_V1_MULTIPROCESSING"]
    command = [
        *(sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model)),
        *("--served-model-name", config.model_id, "--host", config.host, "--port", str(config.port)),
        "--disable-uvicorn-access-log",
        *arguments,
    ]
    with tempfile.TemporaryFile() as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
        try:
            _wait(f"http://{config.host}:{config.port}/v1/models", server)
            yield f"http://{config.host}:{config.port}/v1"
        finally:
            os.killpg(server.pid, 15)
            server.wait()


def _flag(name: str, value: Any) -> list[str]:
    flag = "--" + name.replace("_", "-")
    if isinstance(value, bool):
        return [flag] if value else []
    return [flag, str(value)]


def _wait(url: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.5)
    raise SystemExit("vLLM's server did not start")


@contextmanager
def endpoint(config: PublisherConfig, model: Path) -> Iterator[str]:
    """Ours, in an embedded Ray."""
    import ray

    start_embedded(ClusterConfig(), NAMESPACE, publisher_cpus(config) + 1, proxy_environment(config))
    try:
        with ExitStack() as up:
            publisher = (
                routed(config, up) if config.router else Publisher(config, OwnDesk(DeskAddress(namespace=NAMESPACE)))
            )
            up.callback(publisher.stop)
            publisher.start(PolicyRef(version="bench", path=str(model)))
            yield f"{config.url}/v1"
    finally:
        ray.shutdown()


def routed(config: PublisherConfig, up: ExitStack) -> RoutedPublisher:
    """The publisher of a model behind a router, which is started."""
    up.callback(stop_router, NAMESPACE)
    start_router(config, NAMESPACE)
    return routed_publisher(config, NAMESPACE)


def show(ours: dict[int, list[Load]], theirs: dict[int, list[Load]]) -> None:
    table = Table(title="Endpoint against bare vLLM")
    for column in ("clients", "server", "requests/s", "p50", "p99", "failed", "ratio"):
        table.add_column(column, justify="right")
    for clients in CLIENTS:
        speed = {name: median(x.requests_per_s for x in by[clients]) for name, by in _by(ours, theirs)}
        for name, by in _by(ours, theirs):
            rows = by[clients]
            table.add_row(
                str(clients),
                name,
                f"{speed[name]:.1f}",
                f"{1000 * median(x.p50_s for x in rows):.0f} ms",
                f"{1000 * median(x.p99_s for x in rows):.0f} ms",
                str(sum(x.failed for x in rows)),
                f"{speed[name] / speed['vLLM']:.2f}",
            )
    Console().print(table)


def _by(ours: dict[int, list[Load]], theirs: dict[int, list[Load]]) -> tuple[tuple[str, dict[int, list[Load]]], ...]:
    return (("vLLM", theirs), ("Salus", ours))


def settings(changes: Sequence[str], keys: Path) -> PublisherConfig:
    given = {name: yaml.safe_load(value) for name, _, value in (change.partition("=") for change in changes)}
    own = {"proxy": "haproxy", "port": free_port(), "gateway": {"keys_file": keys}}
    return PublisherConfig.model_validate(own | given)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--set", dest="changes", action="append", default=[], help="a setting of publish, as name=value"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=600, help="of each measurement")
    parser.add_argument("--only", choices=("vllm", "salus"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="salus-serving-") as folder:
        keys = Path(folder) / "keys.jsonl"
        key = KeyFile(keys).add("load", "client")
        config = settings(options.changes, keys)
        model = make_tiny_model(Path(folder) / "policy", hidden=256, layers=3)
        theirs = ours = {}
        if options.only != "salus":
            with bare(config, model) as base:
                theirs = loads(base, key, options.rounds, options.requests)
        if options.only != "vllm":
            with endpoint(config, model) as base:
                ours = loads(base, key, options.rounds, options.requests)
    if theirs and ours:
        show(ours, theirs)
    else:
        Console().print({clients: [x.requests_per_s for x in rows] for clients, rows in (theirs or ours).items()})


if __name__ == "__main__":
    main()
