"""The endpoint against bare vLLM: the same model, settings, machine and load, in turns of one run.

    python -m tests.benchmarks.serving
    python -m tests.benchmarks.serving --set proxy=serve --rounds 3
    python -m tests.benchmarks.serving --set router=true

The settings are those of `salus serve`, with one replica. Each round starts either server in a program of its own, one
after the other and in the next round the other way round: a machine is seldom as fast as it was a minute ago. Prints
requests per second and latencies at 8 and at 32 clients, each the median of the rounds, and the ratio of each round.
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
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any, Literal

import yaml
from rich.console import Console
from rich.table import Table

from actors.contract.actor_address import ActorAddress
from actors.contract.records import PolicyRef
from actors.engine.config import engine_arguments
from actors.serve.config import PublisherConfig, publisher_cpus
from actors.serve.gateway.keys import KeyFile
from actors.serve.publisher.publisher import Publisher
from actors.serve.replica.app import replica_environment
from actors.serve.replica.published import PolicyInActor
from actors.serve.router.endpoint import start_router, stop_router
from actors.serve.router.publisher import RoutedPublisher, routed_publisher
from pipelines.cluster.session import embedded_ray
from pipelines.config.cluster import ClusterConfig
from pipelines.serving.settings import ServeSettings
from tests.benchmarks.load import Load
from tests.free_port import free_port
from tests.tiny_model import make_tiny_model

Server = Literal["vllm", "salus"]

SERVERS: tuple[Server, Server] = ("vllm", "salus")
CLIENTS = (8, 32)
NAMESPACE = "salus-serving"
LOAD = Path(__file__).parent / "load.py"
START_S = 180.0


def loads(base: str, key: str, rounds: int, requests: int) -> dict[int, list[Load]]:
    """Each number of clients in turn, `rounds` times; a first load of all only warms up."""
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
    arguments = [part for name, value in engine_arguments(config.engine, model).items() for part in _flag(name, value)]
    environment = os.environ | replica_environment(config)
    # What a user has: the engine core in a process of its own.
    del environment["VLLM_ENABLE_V1_MULTIPROCESSING"]
    command = [
        *(sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model)),
        *("--served-model-name", config.model_id, "--host", config.host, "--port", str(config.port)),
        "--disable-uvicorn-access-log",
        "--disable-log-stats",
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
        return [flag if value else flag.replace("--", "--no-", 1)]
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
    with embedded_ray(ClusterConfig(), NAMESPACE, publisher_cpus(config) + 1, config), ExitStack() as up:
        publisher = (
            routed(config, up) if config.router else Publisher(config, PolicyInActor(ActorAddress(namespace=NAMESPACE)))
        )
        up.callback(publisher.stop)
        publisher.start(PolicyRef(version="bench", path=str(model)))
        yield f"{config.url}/v1"


def routed(config: PublisherConfig, up: ExitStack) -> RoutedPublisher:
    """The publisher of a model behind a router, which is started."""
    up.callback(stop_router, NAMESPACE)
    start_router(config, NAMESPACE)
    return routed_publisher(config, NAMESPACE)


def figures(measured: Sequence[Load]) -> tuple[str, str, str, str]:
    """Requests per second, p50 and p99, each the median of some loads, and how many requests failed in all."""
    return (
        f"{median(load.requests_per_s for load in measured):.1f}",
        f"{1000 * median(load.p50_s for load in measured):.0f} ms",
        f"{1000 * median(load.p99_s for load in measured):.0f} ms",
        str(sum(load.failed for load in measured)),
    )


def show(rounds: Sequence[dict[Server, list[Load]]]) -> None:
    table = Table(title="Endpoint against bare vLLM")
    for column in ("clients", "server", "requests/s", "p50", "p99", "failed", "ratio", "ratio of each round"):
        table.add_column(column, justify="right")
    for number, clients in enumerate(CLIENTS):
        by_server = {server: [each[server][number] for each in rounds] for server in SERVERS}
        theirs = [load.requests_per_s for load in by_server["vllm"]]
        for server, measured in by_server.items():
            ours = [load.requests_per_s for load in measured]
            table.add_row(
                str(clients),
                server,
                *figures(measured),
                f"{median(ours) / median(theirs):.2f}",
                " ".join(f"{our / their:.2f}" for our, their in zip(ours, theirs, strict=True)),
            )
    Console().print(table)


def settings(changes: Sequence[str], keys: Path) -> PublisherConfig:
    given = {name: yaml.safe_load(value) for name, _, value in (change.partition("=") for change in changes)}
    gateway = {"keys_file": keys, "requests_per_minute": None, "extra_fields": {"client": ("min_tokens",)}}
    own = {"replicas": 1, "port": free_port(), "gateway": gateway}
    return PublisherConfig.model_validate(ServeSettings().publish.model_dump() | own | given)


def measure(server: Server, changes: Sequence[str], requests: int) -> list[Load]:
    """Start this server, load it, and stop it."""
    with tempfile.TemporaryDirectory(prefix="salus-serving-") as folder:
        keys = Path(folder) / "keys.jsonl"
        key = KeyFile(keys).add("load", "client")
        config = settings(changes, keys)
        model = make_tiny_model(Path(folder) / "policy", hidden=256, layers=3)
        with bare(config, model) if server == "vllm" else endpoint(config, model) as base:
            return [load for (load,) in loads(base, key, 1, requests).values()]


def measure_apart(server: Server, changes: Sequence[str], requests: int) -> list[Load]:
    """The same in a program of its own: Serve reads its environment but once."""
    command = [sys.executable, "-m", "tests.benchmarks.serving", "--only", server, "--requests", str(requests)]
    command += [part for change in changes for part in ("--set", change)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return [Load(**each) for each in json.loads(done.stdout.splitlines()[-1])]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--set", dest="changes", action="append", default=[], help="a setting of publish, as name=value"
    )
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--requests", type=int, default=600, help="of each measurement")
    parser.add_argument("--only", choices=SERVERS, help="measure this one once, and print JSON")
    options = parser.parse_args()
    if options.only is not None:
        print(json.dumps([asdict(load) for load in measure(options.only, options.changes, options.requests)]))
        return
    rounds = []
    for number in range(options.rounds):
        order = SERVERS if number % 2 == 0 else SERVERS[::-1]
        rounds.append({server: measure_apart(server, options.changes, options.requests) for server in order})
        speeds = {server: [load.requests_per_s for load in measured] for server, measured in rounds[-1].items()}
        Console().print(f"round {number + 1}: {speeds}")
    show(rounds)


if __name__ == "__main__":
    main()
