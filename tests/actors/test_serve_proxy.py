"""HAProxy as Salus has Ray start it: what it says of itself is for this machine alone."""

from __future__ import annotations

import re
import socket
import subprocess
from pathlib import Path

import psutil
import pytest
from ray.serve._private.haproxy_templates import HAPROXY_CONFIG_TEMPLATE

from actors.publisher_config import PublisherConfig
from actors.serve_proxy import proxy_environment, remove_proxy_files

REST = """
defaults
  mode http
  timeout client 1s
  timeout connect 1s
  timeout server 1s
"""


def binds(environment: dict[str, str], public: int) -> str:
    """Ray's own lines for both ports, and a listener that clients are meant to reach."""
    lines = re.findall(r"^ *bind .*config\.(?:metrics|stats)_port.*$", HAPROXY_CONFIG_TEMPLATE, re.MULTILINE)
    assert len(lines) == 2
    ports = {name: environment[f"RAY_SERVE_HAPROXY_{name.upper()}_PORT"] for name in ("metrics", "stats")}
    filled = [re.sub(r"\{\{ config\.(metrics|stats)_port \}\}", lambda m: ports[m[1]], line) for line in lines]
    return "".join(f"listen l{i}\n{line}\n" for i, line in enumerate([*filled, f"    bind *:{public}"]))


def test_metrics_and_statistics_are_on_loopback_and_the_endpoint_is_where_it_was() -> None:
    environment = proxy_environment(PublisherConfig(proxy="haproxy"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        public = int(probe.getsockname()[1])
    # Ray puts each node's into a folder of its own.
    folder = Path(environment["RAY_SERVE_HAPROXY_CONFIG_FILE_LOC"]).parent
    config = folder / "node" / "haproxy.cfg"
    config.parent.mkdir()
    config.write_text(REST + binds(environment, public))
    # As Ray calls it.
    command = [environment["RAY_SERVE_HAPROXY_BINARY_PATH"], "-db", "-f", str(config), "-dR"]
    server = psutil.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        listening: dict[int, str] = {}
        for _ in range(100):
            listening = {c.laddr.port: c.laddr.ip for c in server.net_connections() if c.status == psutil.CONN_LISTEN}
            if len(listening) == 3:
                break
            with pytest.raises(psutil.TimeoutExpired):
                server.wait(0.1)
        ports = {int(environment[f"RAY_SERVE_HAPROXY_{name}_PORT"]) for name in ("METRICS", "STATS")}
        assert listening == {**dict.fromkeys(ports, "127.0.0.1"), public: "0.0.0.0"}
        # By which Ray knows its own.
        assert str(config) in server.cmdline()
    finally:
        server.kill()
        server.wait()
        remove_proxy_files(environment)
    assert not folder.exists()
