"""A real S3 server on this machine: moto's, over HTTP on 127.0.0.1, in a thread of the tests."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http.server import HTTPServer
from importlib.util import find_spec
from typing import TYPE_CHECKING
from urllib.request import ProxyHandler, Request, build_opener

import pytest

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


class OneWriteAtATime:
    """Lets writes of objects in one by one: moto looks for a condition and writes in two steps, S3 in one."""

    def __init__(self, application: WSGIApplication) -> None:
        self._application = application
        self._lock = threading.Lock()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] != "PUT":
            return self._application(environ, start_response)
        with self._lock:
            return list(self._application(environ, start_response))


@contextmanager
def s3_server() -> Iterator[str]:
    """Its URL; the test is skipped where moto is not installed."""
    if find_spec("moto") is None or find_spec("flask") is None:
        pytest.skip("moto's server is not installed (pip install --no-deps -r requirements-dev.lock)")
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
    from werkzeug.serving import make_server

    application = OneWriteAtATime(DomainDispatcherApplication(create_backend_app))
    with running(make_server("127.0.0.1", 0, application, threaded=True, request_handler=MotoRequestHandler)) as url:
        yield url


@contextmanager
def running(server: HTTPServer) -> Iterator[str]:
    """A server, in a thread of the tests; its URL."""
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def make_bucket(url: str, name: str) -> None:
    """Make a bucket at a server."""
    # Python's own opener keeps the proxies of its first use, which may have been in a test of proxies.
    with build_opener(ProxyHandler({})).open(Request(f"{url}/{name}", method="PUT")):
        pass


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
