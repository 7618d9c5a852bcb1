"""uvicorn as Serve's processes run it once `protect` was called there."""

from __future__ import annotations

import asyncio
import http.client
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any, cast

import pytest
import uvicorn
from ray.serve._private.http_util import _apply_middlewares, validate_http_proxy_callback_return
from uvicorn.config import HTTP_PROTOCOLS

from actors.serve.proxy.ingress import HeaderTimeoutProtocol, protect
from tests.free_port import free_port
from tests.half_open import HALF_HEADER, NOTHING, half_open

SLOW = "/slow"


async def app(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await asyncio.sleep(1.5 if scope["path"] == SLOW else 0.0)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """A server that waits half a second for a header."""
    former, waited = HTTP_PROTOCOLS["auto"], HeaderTimeoutProtocol.timeout_header_s
    HeaderTimeoutProtocol.timeout_header_s = 0.5
    port = free_port()
    layers = validate_http_proxy_callback_return(protect())
    layered: Any = _apply_middlewares(app, cast(Any, layers))
    config = uvicorn.Config(layered, port=port, log_level="warning", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield port
    server.should_exit = True
    thread.join()
    HTTP_PROTOCOLS["auto"], HeaderTimeoutProtocol.timeout_header_s = former, waited


@pytest.mark.parametrize("sent", [NOTHING, HALF_HEADER])
def test_a_header_that_does_not_end_is_not_waited_for(port: int, sent: bytes) -> None:
    with half_open(port, 20, sent) as opened:
        began = time.monotonic()
        while opened.still_open():
            assert time.monotonic() - began < 5
            time.sleep(0.05)
        assert time.monotonic() - began > 0.3


def test_a_header_that_comes_byte_by_byte_is_not_waited_for_either(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as slow, pytest.raises(OSError, match=r"reset|[Bb]roken"):
        for _ in range(40):
            slow.sendall(b"G")
            time.sleep(0.05)


def test_an_answer_may_take_longer_and_a_connection_be_used_again(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    for path in (SLOW, "/", SLOW):
        connection.request("POST", path, b"{}")
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (200, b"ok")
        # Idle between two requests, for uvicorn's own time.
        time.sleep(0.8)
    connection.sock.sendall(b"GET / HT")
    began = time.monotonic()
    assert connection.sock.recv(1) == b"" and time.monotonic() - began < 3
    connection.close()


def test_applications_are_told_to_nobody(port: int) -> None:
    for path, status in (("/-/routes", 404), ("/", 200)):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", path)
        assert connection.getresponse().status == status
        connection.close()
