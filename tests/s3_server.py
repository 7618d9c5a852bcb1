"""A real S3 server on this machine: moto's, over HTTP on 127.0.0.1, in a thread of the tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

import pytest


@contextmanager
def s3_server() -> Iterator[str]:
    """Its URL; the test is skipped where moto is not installed."""
    if find_spec("moto") is None or find_spec("flask") is None:
        pytest.skip("moto's server is not installed (pip install --no-deps -r requirements-dev.lock)")
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        server.stop()
