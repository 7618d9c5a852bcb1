"""A port that nobody listens on."""

from __future__ import annotations

import random
import socket

# Below those the system hands out by itself, one of which a process of Ray may get before it is used, and beside
# those of Ray's workers (up to 19999) and Serve's replicas (30000 to 31000).
_PORTS = range(20_000, 30_000)


def free_port() -> int:
    """One that was free a moment ago, and that nobody is given who asks for any."""
    for port in random.SystemRandom().sample(_PORTS, 50):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError(f"none of 50 ports in {_PORTS} is free")
