"""HAProxy with Ray's own configuration, as Salus edits it, before a replica that takes its time."""

from __future__ import annotations

import asyncio
import http.client
import os
import re
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import uvicorn
from ray.serve._private.haproxy import BackendConfig, HAProxyApi, HAProxyConfig, ServerConfig
from ray.serve.config import HTTPOptions

from actors.files.session_folder import session_folder
from actors.serve.config import PublisherConfig
from actors.serve.gateway.config import GatewayConfig
from actors.serve.gateway.gateway import Gateway
from actors.serve.gateway.keys import KeyRing, new_key
from actors.serve.gateway.meter import PrometheusMeter
from actors.serve.proxy.environment import proxy_environment
from actors.serve.proxy.haproxy_config import (
    CLIENT_TIMEOUT_S,
    HEADER_TIMEOUT_S,
    ProxyLimits,
    hardened,
    possible_connections,
)
from tests.free_port import free_port
from tests.half_open import HALF_BODY, HALF_HEADER, NOTHING, half_open

TOKEN, KEY = new_key("ward", "client")


@dataclass(frozen=True)
class Proxy:
    port: int
    config: Path
    metrics: int
    stats: int
    server: psutil.Popen

    def ask(self, path: str = "/v1/models", timeout: float = 20.0) -> tuple[int, bytes, float]:
        began = time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request("GET", path, headers={"Authorization": f"Bearer {TOKEN}"})
            answer = connection.getresponse()
            return answer.status, answer.read(), time.monotonic() - began
        finally:
            connection.close()


async def replica(scope: Any, receive: Any, send: Any) -> None:
    """Answers at once, or says a word every few seconds."""
    slow_s = 2.5 if scope["path"] == "/v1/chat/completions" else 0.0
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    for word in (b"one ", b"two ", b"three"):
        await asyncio.sleep(slow_s)
        await send({"type": "http.response.body", "body": word, "more_body": word != b"three"})


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["path"] == "/-/healthz":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"success"})
    else:
        await GATEWAY(scope, receive, send)


GATEWAY = Gateway(replica, GatewayConfig(), KeyRing(fixed=[KEY]), PrometheusMeter(), lambda: "c0-base")


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with session_folder() as session:
        yield session.haproxy


@pytest.fixture(scope="module")
def proxy(folder: Path) -> Iterator[Proxy]:
    environment = proxy_environment(PublisherConfig(proxy="haproxy"), folder)
    port, behind = free_port(), free_port()
    config = folder / "node" / "haproxy.cfg"
    metrics, stats = (int(environment[f"RAY_SERVE_HAPROXY_{name}_PORT"]) for name in ("METRICS", "STATS"))
    api = HAProxyApi(
        cfg=HAProxyConfig(
            http_options=HTTPOptions(host="127.0.0.1", port=port),
            is_head=True,
            has_received_routes=True,
            socket_path=str(config.with_name("a")),
            metrics_socket_path=str(config.with_name("m")),
            server_state_base=str(config.parent),
            server_state_file=str(config.with_name("state")),
            metrics_port=metrics,
            stats_port=stats,
        ),
        config_file_path=str(config),
        backend_configs={
            "policy": BackendConfig(
                name="policy",
                path_prefix="/",
                app_name="policy-of-the-ward",
                servers=[ServerConfig(name="one", host="127.0.0.1", port=behind)],
            )
        },
    )
    api._generate_config_file_internal()
    server = uvicorn.Server(uvicorn.Config(app, port=behind, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    # As Ray calls it.
    command = [environment["RAY_SERVE_HAPROXY_BINARY_PATH"], "-db", "-f", str(config), "-dR"]
    running = psutil.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    made = Proxy(port, config, metrics, stats, running)
    try:
        deadline = time.monotonic() + 20
        while not up(made):
            assert running.poll() is None and time.monotonic() < deadline
            time.sleep(0.1)
        yield made
    finally:
        if running.is_running():
            running.kill()
        running.wait()
        server.should_exit = True
        thread.join()


def up(proxy: Proxy) -> bool:
    try:
        return proxy.ask(timeout=1.0)[0] == 200
    except OSError:
        return False


def test_metrics_and_statistics_are_on_loopback_and_the_endpoint_is_where_it_was(proxy: Proxy) -> None:
    sockets = proxy.server.net_connections()
    listening = {c.laddr.port: c.laddr.ip for c in sockets if c.status == psutil.CONN_LISTEN}
    assert listening == dict.fromkeys((proxy.port, proxy.metrics, proxy.stats), "127.0.0.1")
    # By which Ray knows its own.
    assert str(proxy.config) in proxy.server.cmdline()
    # Whoever may write there controls it.
    assert stat.S_IMODE(proxy.config.with_name("a").stat().st_mode) & 0o077 == 0


def test_applications_are_told_to_nobody(proxy: Proxy) -> None:
    status, body, _ = proxy.ask("/-/routes")
    assert status == 404 and b"policy" not in body
    assert proxy.ask("/-/healthz")[:2] == (200, b"success")


@pytest.mark.timeout(120)
@pytest.mark.parametrize("sent", [HALF_HEADER, HALF_BODY])
def test_a_client_with_a_key_is_answered_beside_thousands_of_half_open_connections(proxy: Proxy, sent: bytes) -> None:
    with half_open(proxy.port, 4300, sent) as opened:
        slowest = max(proxy.ask()[2] for _ in range(20))
        print(f"slowest {slowest:.3f} s")
        assert opened.count == 4300 and slowest < 2.0


@pytest.mark.timeout(120)
def test_a_connection_without_a_whole_request_is_closed(proxy: Proxy) -> None:
    began = time.monotonic()
    with ExitStack() as up:
        opened = [up.enter_context(half_open(proxy.port, 5, sent)) for sent in (NOTHING, HALF_HEADER, HALF_BODY)]
        while any(each.still_open() for each in opened):
            assert time.monotonic() < began + HEADER_TIMEOUT_S + 5
            time.sleep(0.1)


def test_an_answer_may_take_longer_than_a_client_may_be_silent(proxy: Proxy) -> None:
    text = hardened(proxy.config.read_text(), ProxyLimits((), (), 100))
    assert f"timeout client {CLIENT_TIMEOUT_S}s" in text and f"timeout http-request {HEADER_TIMEOUT_S}s" in text
    patient = re.sub(r"timeout client \d+s", "timeout client 1s", text)
    port = free_port()
    patient = re.sub(rf"\b{proxy.port}\b", str(port), patient)
    patient = patient.replace(str(proxy.config.parent), str(proxy.config.parent.parent / "other"))
    (proxy.config.parent.parent / "other").mkdir()
    (proxy.config.parent.parent / "other" / "500.http").write_bytes(proxy.config.with_name("500.http").read_bytes())
    for each in (proxy.metrics, proxy.stats):
        patient = re.sub(rf"\b{each}\b", str(free_port()), patient)
    config = proxy.config.with_name("patient.cfg")
    config.write_text(patient)
    other = psutil.Popen([proxy.server.exe(), "-db", "-f", str(config)], stderr=subprocess.DEVNULL)
    try:
        slow = Proxy(port, config, 0, 0, other)
        while not up(slow):
            assert other.poll() is None
            time.sleep(0.1)
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        body = b'{"messages": []}'
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        connection.request("POST", "/v1/chat/completions", body, headers)
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (200, b"one two three")
        connection.close()
    finally:
        other.kill()
        other.wait()


def test_it_ends_with_the_process_that_started_it(proxy: Proxy, tmp_path: Path) -> None:
    environment = proxy_environment(PublisherConfig(proxy="haproxy"), tmp_path)
    config = tmp_path / "haproxy.cfg"
    times = "  timeout client 1s\n  timeout connect 1s\n  timeout server 1s\n"
    # A socket of its own: another program may take a free port before HAProxy does.
    config.write_text(f"defaults\n  mode http\n{times}listen l\n  bind unix@{tmp_path / 's'}\n")
    program = environment["RAY_SERVE_HAPROXY_BINARY_PATH"]
    start = f"import subprocess, sys; subprocess.Popen([{program!r}, '-db', '-f', {str(config)!r}]); sys.stdin.read()"
    # Not the python3 of the path: it may be a shell script, whose own children end while they are looked at.
    parent = psutil.Popen([sys.executable, "-c", start], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 20
        while not [child for child in parent.children() if "haproxy" in os.path.basename(child.exe())]:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        children = parent.children()
    finally:
        parent.kill()
        parent.wait()
    assert psutil.wait_procs(children, timeout=10)[1] == []


def test_connections_fit_the_files_a_process_may_open() -> None:
    assert possible_connections(2**20) == 16_384
    assert possible_connections(20_000) == 7_795
    assert possible_connections(100) == 1


def test_edits_are_made_once_and_trusted_proxies_are_not_counted(proxy: Proxy) -> None:
    text = proxy.config.read_text()
    limits = ProxyLimits((1,), ("10.0.0.0/24",), 5)
    assert hardened(text, limits) == text
    frontend = "global\n    maxconn 4096\nfrontend http_frontend\n    bind *:8000\n"
    edited = hardened(frontend, limits)
    assert "maxconn 5\n" in edited and "!{ src 10.0.0.0/24 }" in edited
    assert "!{ src" not in hardened(frontend, ProxyLimits((1,), (), 5))


def test_every_line_that_is_edited_is_still_rays(proxy: Proxy) -> None:
    text = proxy.config.read_text()
    for line in ("mode 600 ", "timeout http-request 10s", "track-sc0 src", "return status 404 if routes"):
        assert line in text, line
    assert "Ping http" not in text and "maxconn 4096" not in text
    with socket.socket() as probe:
        probe.settimeout(5)
        probe.connect(("127.0.0.1", proxy.port))
