"""Which Ray this process speaks to: a cluster that is already up is joined, or an embedded one gets a token of its own.

`ray.init` hangs for good on an address where nothing listens, so the port is tried first.

The token of an embedded Ray is a new one each time, in the environment of its processes and nowhere else. Ray itself
would take the one in ~/.ray/auth_token, which is the same for all Rays of a user. Every account that may read the
user's home could then read it. Ray's processes inherit a token in the environment, and so do those that a run starts
to join it. It is on no command line and in no file, and ends with them.
"""

from __future__ import annotations

import logging
import re
import secrets
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import ray
from ray.exceptions import AuthenticationError

from actors.contract.ray_internals import _raylet, get_node_ip_address, most_resources, quiet_errors
from actors.errors import SalusError
from pipelines.cluster.devices import GIB, Resources
from pipelines.cluster.environment import environment, on_loopback
from pipelines.cluster.machine.node_gpus import smallest_gpu_gib
from pipelines.config.cluster import in_ray_job

MODE = "RAY_AUTH_MODE"
TOKEN = "RAY_AUTH_TOKEN"
CONNECT_TIMEOUT_S = 10.0


def join(address: str, namespace: str | None = None, variables: Mapping[str, str] | None = None) -> None:
    """Make this process a driver of the cluster at `address` ("auto", "host:port" or "ray://host:port").

    Args:
        address: of the cluster.
        namespace: of the actors.
        variables: of the environment of its tasks and actors.

    Raises:
        SalusError: no cluster answers there, or it wants a token that this process does not show.
    """
    try:
        _knock(address)
        quiet_errors()
        with on_loopback() if _on_loopback_alone(address) else nullcontext():
            ray.init(
                address=address,
                namespace=namespace,
                logging_level=logging.ERROR,
                log_to_driver=False,
                runtime_env={
                    "worker_process_setup_hook": "actors.contract.loopback.settle_worker",
                    "env_vars": dict(variables or {}),
                },
            )
    except (ConnectionError, OSError, ValueError, AuthenticationError) as error:
        if _lacks_token(error):
            raise SalusError(
                f"The Ray cluster at {address!r} does not take this process' token; set RAY_AUTH_MODE=token and have"
                " the cluster's token in ~/.ray/auth_token (chmod 600), or in RAY_AUTH_TOKEN."
            ) from error
        if in_ray_job() and "merge the Job's runtime env" in str(error):
            raise SalusError(
                "The job's runtime environment has a worker_process_setup_hook, and Salus needs one of its own; leave"
                " it out of --runtime-env and --runtime-env-json."
            ) from error
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SalusError(
            f"No Ray cluster answers at {address!r} ({first}); start one, or set cluster.address to null for"
            " an embedded Ray."
        ) from error


def cluster_resources(address: str) -> Resources:
    """What the cluster has, and may still start where its autoscaler says so; joined for the question.

    Raises:
        SalusError: no cluster answers at `address`.
    """
    if ray.is_initialized():
        return _joined(address)
    join(address)
    try:
        return _joined(address)
    finally:
        ray.shutdown()


@contextmanager
def fresh_token() -> Iterator[None]:
    """Inside, this process and what it starts speak to a Ray with a token of their own.

    The Ray that is started inside must have ended before: what the user had set counts again afterwards.
    """
    try:
        with environment({MODE: "token", TOKEN: secrets.token_hex(32)}):
            _read_again()
            yield
    finally:
        _read_again()


def _lacks_token(error: BaseException | None) -> bool:
    """Whether the cluster's refusal of a token is behind an error; Ray keeps some of them as text alone."""
    while error is not None and AuthenticationError.__name__ not in f"{type(error).__name__} {error}":
        error = error.__cause__
    return error is not None


def _knock(address: str) -> None:
    """Open and close a connection to a named address; "auto" and the like are looked up by Ray itself."""
    if (named := _named(address)) is not None:
        with socket.create_connection(named, timeout=CONNECT_TIMEOUT_S):
            pass


def _named(address: str) -> tuple[str, int] | None:
    """Host and port, where an address names them."""
    named = re.fullmatch(r"(?:ray://)?\[?(?P<host>[^\]/]+?)\]?:(?P<port>\d{1,5})", address)
    return (named["host"], int(named["port"])) if named is not None else None


def _on_loopback_alone(address: str) -> bool:
    """Whether a Ray that answers at 127.0.0.1 has no other address; Ray itself would ask this machine's instead."""
    named = _named(address)
    if named is None or named[0] not in ("127.0.0.1", "localhost"):
        return False
    try:
        with socket.create_connection((get_node_ip_address(), named[1]), timeout=CONNECT_TIMEOUT_S):
            return False
    except OSError:
        return True


def _joined(address: str) -> Resources:
    """Of the cluster this process is part of."""
    now = ray.cluster_resources()
    # None where no autoscaler reports what it may grow to.
    later = most_resources()
    most = {name: max(now.get(name, 0.0), float(later.get(name, 0.0))) for name in ("CPU", "GPU", "memory")}
    nodes = [node["Resources"].get("GPU", 0.0) for node in ray.nodes() if node["Alive"]]
    return Resources(
        where=f"the cluster at {address}",
        shared=True,
        cpus=most["CPU"],
        gpus=most["GPU"],
        # A node still to be started may be larger than any that is up; Ray does not say by how much.
        node_gpus=most["GPU"] if most["GPU"] > sum(nodes) else max(nodes, default=0.0),
        memory_gib=round(most["memory"] / GIB, 1),
        gpu_memory_gib=smallest_gpu_gib(),
    )


def _read_again() -> None:
    """Ray reads both variables once, when its library is loaded."""
    # Of Ray's compiled part, which ships no types; as its own `authentication_token_setup` does.
    compiled: Any = _raylet
    compiled.Config.initialize("")
    compiled.AuthenticationTokenLoader.instance().reset_cache()
