"""What Salus changes in the HAProxy configuration that Ray writes, before each start and reload of HAProxy.

Ray has no setting for these, but it lets one name the program that it starts as HAProxy. That program is this file
with arguments (`environment.py` writes them); it edits the configuration and becomes HAProxy. It imports the standard
library alone, so that a reload is quick.
"""

from __future__ import annotations

import argparse
import ctypes
import itertools
import os
import re
import resource
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

# From the start of a connection, or of a request, until its header and the first 16 KiB of its body are there.
HEADER_TIMEOUT_S = 10
# Of a body, or an answer, of which no byte could be moved. It does not run while the policy works on an answer.
CLIENT_TIMEOUT_S = 30
# Each holds at most two buffers of 16 KiB.
MAX_CONNECTIONS = 16_384
# Of one address, unless it is a trusted proxy's.
CONNECTIONS_PER_SOURCE = 1_024
# As HAProxy counts: a client's, a replica's, and those of a pipe for every fourth connection.
_DESCRIPTORS_PER_CONNECTION = 2.5
# For the listeners, the health checks and the configuration.
_SPARE_DESCRIPTORS = 512
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class ProxyLimits:
    """What an endpoint's HAProxy is told beyond Ray's settings."""

    # Listen on loopback.
    private_ports: tuple[int, ...]
    # Networks whose connections are not counted, as those of a proxy that ends TLS.
    trusted: tuple[str, ...]
    # Connections at the same time, all clients together.
    connections: int


def hardened(text: str, limits: ProxyLimits) -> str:
    """Ray's configuration with time limits, limits of connections, and nothing told to those who have no key.

    Args:
        text: the configuration as Ray wrote it, or as this function returned it.
        limits: what this endpoint is told.
    """
    ports = "|".join(map(str, limits.private_ports))
    edits = (
        # Metrics and statistics.
        (rf"^([ \t]*bind )[*]?:({ports})$", r"\g<1>127.0.0.1:\2"),
        # A process that may write to this socket controls HAProxy.
        (r"^([ \t]*stats socket .*) mode 666 ", r"\1 mode 600 "),
        (r"^([ \t]*)maxconn \d+$", rf"\g<1>maxconn {limits.connections}"),
        (r"^([ \t]*)timeout client \d+s$", _time_limits()),
        (r"^(frontend http_frontend\n[ \t]*bind .*)$", r"\1" + "\n" + _source_limit(limits.trusted)),
        # The names and paths of applications.
        (r"^([ \t]*)http-request return status .* if routes$", r"\1http-request return status 404 if routes"),
        (r"Ping http://\.\.\./-/routes for available routes\.", ""),
    )
    if _MARK in text:
        return text
    for pattern, replacement in edits:
        text = re.sub(pattern, replacement, text, flags=re.MULTILINE)
    return f"{_MARK}\n{text}"


_MARK = "# Edited by Salus."


def _time_limits() -> str:
    return "\n".join(
        (
            rf"\1timeout client {CLIENT_TIMEOUT_S}s",
            rf"\1timeout http-request {HEADER_TIMEOUT_S}s",
            # A replica hears of a request when its body is there, or 16 KiB of it.
            r"\1option http-buffer-request",
        )
    )


def _source_limit(trusted: Sequence[str]) -> str:
    counted = f" !{{ src {' '.join(trusted)} }}" if trusted else ""
    return "\n".join(
        (
            "    stick-table type ipv6 size 100k expire 1m store conn_cur",
            "    tcp-request connection track-sc0 src",
            f"    tcp-request connection reject if {{ sc0_conn_cur gt {CONNECTIONS_PER_SOURCE} }}{counted}",
        )
    )


def possible_connections(descriptors: int) -> int:
    """How many clients may be connected where a process may open so many files; HAProxy does not start with more."""
    return max(1, min(MAX_CONNECTIONS, int((descriptors - _SPARE_DESCRIPTORS) / _DESCRIPTORS_PER_CONNECTION)))


def main(arguments: Sequence[str]) -> None:
    """Edit the configuration that the arguments of HAProxy name, and become HAProxy."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", required=True)
    parser.add_argument("--private-port", type=int, action="append", default=[])
    parser.add_argument("--trusted", action="append", default=[])
    parser.add_argument("haproxy", nargs="*")
    own = arguments[: arguments.index("--")]
    handed = list(arguments[len(own) + 1 :])
    options = parser.parse_args(own)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    connections = MAX_CONNECTIONS if hard == resource.RLIM_INFINITY else possible_connections(hard)
    limits = ProxyLimits(tuple(options.private_port), tuple(options.trusted), connections)
    for flag, value in itertools.pairwise(handed):
        if flag == "-f":
            config = Path(value)
            config.write_text(hardened(config.read_text(encoding="utf-8"), limits), encoding="utf-8")
    os.umask(0o077)
    _end_with_parent()
    os.execv(options.binary, [options.binary, *handed])


def _end_with_parent() -> None:
    """Ray's proxy actor stops its HAProxy only where it is given the time; the kernel does so always."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    main(sys.argv[1:])
