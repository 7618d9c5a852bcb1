"""An embedded Ray listens on loopback alone, its metrics included.

Ray has one switch for it, which is meant for other systems and is read when its library is loaded. In this process it
is loaded already; the processes that Ray starts read the switch from the environment.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from actors.contract.ray_internals import ray_constants
from pipelines.cluster.environment import environment

_SWITCH = ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR


@contextmanager
def on_loopback() -> Iterator[None]:
    """A Ray that is started inside has the node address 127.0.0.1."""
    former = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        with environment({_SWITCH: "0"}):
            yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = former
