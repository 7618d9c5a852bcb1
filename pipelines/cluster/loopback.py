"""An embedded Ray listens on loopback alone, its metrics included.

Ray has one switch for it, which is meant for other systems and is read when its library is loaded. In this process it
is loaded already; the processes that Ray starts read the switch from the environment.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from actors.contract.ray_internals import ray_constants

_SWITCH = ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR


@contextmanager
def on_loopback() -> Iterator[None]:
    """A Ray that is started inside has the node address 127.0.0.1."""
    former, variable = ray_constants.ENABLE_RAY_CLUSTER, os.environ.get(_SWITCH)
    ray_constants.ENABLE_RAY_CLUSTER = False
    os.environ[_SWITCH] = "0"
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = former
        if variable is None:
            del os.environ[_SWITCH]
        else:
            os.environ[_SWITCH] = variable
