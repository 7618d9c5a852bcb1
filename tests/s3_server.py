"""A real S3 server on this machine: moto's, over HTTP on 127.0.0.1, in a thread of the tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from urllib.parse import urlsplit

import pytest
from pyarrow import fs


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


def make_bucket(url: str, name: str) -> None:
    """Make a bucket at a server."""
    client = fs.S3FileSystem(
        access_key="test",
        secret_key="test",
        region="us-east-1",
        scheme="http",
        endpoint_override=urlsplit(url).netloc,
        allow_bucket_creation=True,
    )
    client.create_dir(name)


def reaching(url: str) -> dict[str, str]:
    """The environment in which S3 is the server at a URL."""
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
        # No test asks the network who it is.
        "AWS_EC2_METADATA_DISABLED": "true",
    }
