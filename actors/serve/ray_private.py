"""What the endpoint uses of Ray and Ray Serve beyond their public API, all of it in this file; Ray 2.60."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ray
from ray._private.state import state


def serve_client() -> Any:
    """This cluster's Serve; None where it does not run, or no cluster was joined."""
    if not ray.is_initialized():
        return None
    from ray.serve.context import _get_global_client

    return _get_global_client(raise_if_no_controller_running=False)


def most_resources() -> Mapping[str, float]:
    """What an autoscaler may grow the cluster to; empty where none reports it."""
    return state.get_max_resources_from_cluster_config() or {}
