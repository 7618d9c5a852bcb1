"""Where Ray Serve listens: one address for all applications of a cluster, each under a route of its own."""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING, Any

import psutil

from actors.contract.ray_internals import serve_client
from actors.errors import SalusError
from actors.files.leftovers import session_of
from actors.files.session_folder import end_left_sessions
from actors.serve.gateway.config import check_gateway

if TYPE_CHECKING:
    from actors.serve.config import PublisherConfig


def serve_address() -> tuple[str, int] | None:
    """Host and port of this cluster's Serve; None where it does not run, or no cluster was joined."""
    client = serve_client()
    return None if client is None else (client.http_config.host, client.http_config.port)


def check_address(config: PublisherConfig) -> None:
    """Refuse an address at which an endpoint cannot listen or would be open to others, and a route that is another's.

    Raises:
        SalusError: something else listens there, or this cluster's Serve listens elsewhere or has that route. Also
            where keys are wanted and there are none, and where none are wanted though other machines could come in.
    """
    check_gateway(config.gateway, config.host)
    if config.gateway.open and config.proxy == "haproxy":
        raise SalusError(
            "With publish.proxy=haproxy the replicas listen on every address of their nodes, so"
            " publish.gateway.open=true would let in more than this machine. Make keys (salus key add NAME), or set"
            " publish.proxy=serve."
        )
    there = serve_address()
    if there is None:
        check_port_free(config.host, config.port)
    elif there != (config.host, config.port):
        raise SalusError(
            f"This cluster's Ray Serve listens on {there[0]}:{there[1]} already, and it has one address; set"
            f" publish.host={there[0]} and publish.port={there[1]}, and publish.route to a path of your own."
        )
    elif config.route in (taken := _routes()):
        raise SalusError(
            f"The route {config.route} of {there[0]}:{there[1]} is that of {taken[config.route]}, which this cluster"
            " serves already; set publish.route to a path of your own."
        )


def _routes() -> dict[str, str]:
    """The names of this cluster's Serve applications, by route."""
    client = serve_client()
    applications: dict[str, dict[str, Any]] = client.get_serve_details()["applications"] if client is not None else {}
    return {str(details["route_prefix"]): name for name, details in applications.items()}


def check_port_free(host: str, port: int) -> None:
    """Refuse an address on which something listens already, or which this machine does not have.

    What a Salus of this user that was killed left behind is ended, and does not count.

    Raises:
        SalusError: names the process that listens there, where this user may see it.
    """
    taken = _why_taken(host, port)
    if taken is not None and taken.errno == errno.EADDRINUSE and end_left_sessions():
        taken = _why_taken(host, port)
    if taken is not None:
        raise SalusError(
            f"Cannot serve on {host}:{port}: {taken.strerror or taken}{_holder(port)}; free the port or set another "
            "one with publish.port."
        ) from taken


def _why_taken(host: str, port: int) -> OSError | None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # Without it a connection of an endpoint just stopped would count as in use.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error
    return None


def _holder(port: int) -> str:
    """Which process listens there; empty where none does or this user may not see it."""
    try:
        listening = {
            each.pid
            for each in psutil.net_connections("tcp")
            if each.status == psutil.CONN_LISTEN and each.pid is not None and tuple(each.laddr)[1:] == (port,)
        }
        named = [f"process {pid} ({psutil.Process(pid).name()}{_salus(pid)})" for pid in sorted(listening)]
    except psutil.Error:
        return ""
    return f" by {', '.join(named)}" if named else ""


def _salus(pid: int) -> str:
    """Whether a process is of a Salus that still runs; one that does not was ended before."""
    return ", of a Salus endpoint that still runs" if session_of(pid) is not None else ""
