"""`salus serve` as a process of its own, over the registry of a run with three tiny policies."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from pipelines.registry.register import register_run
from pipelines.registry.store import Registry
from tests.free_port import free_port
from tests.pipelines.registry.published import publish_run

SALUS = [sys.executable, "-m", "pipelines.cli.main"]
START_S = 240.0
# One small replica.
SMALL: Mapping[str, object] = {
    "publish.replicas": 1,
    "publish.cpus_per_replica": 0.5,
    "publish.kv_cache_gib": 0.0625,
    "publish.max_model_len": 256,
}


@dataclass(frozen=True)
class Command:
    """A running `salus serve`."""

    url: str
    server: psutil.Popen
    log: Path


def registered(place: Path) -> tuple[Registry, tuple[str, str, str]]:
    """A registry, and its versions: the deployed model, KTO's of cycle 1, DPO's of cycle 2."""
    run = publish_run(place / "demo-s7", place / "base")
    registry = Registry(place / "registry")
    base, kto, dpo = (str(each.version) for each in register_run(run.root, registry))
    return registry, (base, kto, dpo)


@contextmanager
def serve_command(place: Path, registry: Registry, options: Mapping[str, object]) -> Iterator[Command]:
    """The command with these settings and a free port, from its first answer on; killed at the end if it still runs."""
    port = free_port()
    settings = {"publish.port": port, **SMALL, **options}
    sets = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    log = place / "serve.log"
    with log.open("w") as out:
        server = psutil.Popen(
            [*SALUS, "serve", "--registry", str(registry.root), *sets], stdout=out, stderr=out, start_new_session=True
        )
        try:
            deadline = time.monotonic() + START_S
            while "until Ctrl-C" not in log.read_text():
                assert server.poll() is None and time.monotonic() < deadline, log.read_text()
                time.sleep(0.5)
            yield Command(url=f"http://127.0.0.1:{port}", server=server, log=log)
        finally:
            if server.is_running():
                os.killpg(server.pid, signal.SIGKILL)
                server.wait(timeout=30)
