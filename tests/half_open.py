"""Thousands of connections whose request never ends."""

from __future__ import annotations

import resource
import select
import socket
from collections.abc import Iterator
from contextlib import contextmanager

NOTHING = b""
HALF_HEADER = b"POST /v1/chat/completions HTTP/1.1\r\nHost: ward\r\nContent-Ty"
HALF_BODY = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: ward\r\nContent-Type: application/json\r\n"
    b'Content-Length: 500000\r\n\r\n{"messages": ['
)


class HalfOpen:
    """Connections that this process holds."""

    def __init__(self, sockets: list[socket.socket]) -> None:
        self._sockets = sockets

    @property
    def count(self) -> int:
        return len(self._sockets)

    def still_open(self) -> int:
        """How many the server has not closed."""
        poll = select.poll()
        for each in self._sockets:
            poll.register(each, select.POLLIN)
        ready = {descriptor for descriptor, _ in poll.poll(0)}
        return sum(not (each.fileno() in ready and _closed(each)) for each in self._sockets)


def _closed(connection: socket.socket) -> bool:
    try:
        while connection.recv(65536, socket.MSG_DONTWAIT):
            pass
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


@contextmanager
def half_open(port: int, count: int, sent: bytes) -> Iterator[HalfOpen]:
    """So many connections to a port of this machine; `sent` is all that each of them says."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, count + 2048)), hard))
    sockets: list[socket.socket] = []
    try:
        for _ in range(count):
            sockets.append(socket.create_connection(("127.0.0.1", port), timeout=20))
            sockets[-1].sendall(sent)
        yield HalfOpen(sockets)
    finally:
        for each in sockets:
            each.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
