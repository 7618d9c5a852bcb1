"""What Ray has no public name for and Salus uses; moving beyond Ray 2.60 begins here.

`ray_constants` says whether a Ray of one machine listens beyond loopback. `get_node_ip_address` says under which
address Ray knows this machine. `_raylet` reads the authentication token again. `quiet_errors` keeps what Ray says of
its own retries out of a command's output. What imports vLLM is in `actors/serve/replica/ray_llm.py`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray
from ray import _raylet as _raylet
from ray._private import ray_constants as ray_constants
from ray._private import worker as worker
from ray._private.services import get_node_ip_address as get_node_ip_address
from ray._private.state import state

_log = logging.getLogger(__name__)


def quiet_errors() -> None:
    """Have Ray's messages on errors of its actors and tasks logged, not printed: what waits for them is told."""

    def log(data: Mapping[str, Any], ignore_prefix: bool = False) -> None:
        for line in data["lines"]:
            _log.info("Ray: %s", line)

    # With `log_to_driver` off, these messages are all that Ray prints.
    worker.print_to_stdstream = log


def logs_folder() -> Path | None:
    """Ray's folder of logs on this machine; None for a driver that is not connected, or from elsewhere."""
    # Ray's own annotation says None alone.
    node: Any = worker._global_node
    return Path(node.get_logs_dir_path()) if node is not None else None


def serve_client() -> Any:
    """This cluster's Serve; None where it does not run, or no cluster was joined."""
    if not ray.is_initialized():
        return None
    from ray.serve.context import _get_global_client

    return _get_global_client(raise_if_no_controller_running=False)


def job_has_ended(job: str) -> bool:
    """Whether the driver of a Ray job, named by its id in hexadecimal, has ended; asked inside its cluster."""
    return next((bool(known["IsDead"]) for known in state.job_table() if known["JobID"] == job), True)


def most_resources() -> Mapping[str, float]:
    """What an autoscaler may grow the cluster to; empty where none reports it."""
    return state.get_max_resources_from_cluster_config() or {}
