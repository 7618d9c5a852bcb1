"""A `salus serve` that is killed: its processes end without it, and the next one gets its port."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import psutil
import pytest

from actors.files.leftovers import session_of
from actors.serve.address import check_port_free
from actors.serve.gateway.keys import KeyFile
from tests.e2e.serve_command import registered, serve_command
from tests.half_open import HALF_HEADER, half_open

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600)]


def test_nothing_outlives_a_killed_endpoint(tmp_path: Path) -> None:
    registry, (base, _, _) = registered(tmp_path)
    registry.promote(base, "deployed")
    with serve_command(tmp_path, registry, keys(tmp_path)) as command:
        port = int(command.url.rpartition(":")[2])
        started = command.server.children(recursive=True)
        assert any("haproxy" in process.name() for process in started)
        (session,) = {session_of(process.pid) for process in started} - {None}
        with half_open(port, 4300, HALF_HEADER):
            command.server.send_signal(signal.SIGKILL)
            command.server.wait(timeout=30)
            began = time.monotonic()
            assert psutil.wait_procs(started, timeout=60)[1] == []
            print(f"all gone after {time.monotonic() - began:.1f} s")
        assert session is not None and not session.exists()
        check_port_free("127.0.0.1", port)


def keys(place: Path) -> dict[str, object]:
    KeyFile(place / "keys.jsonl").add("ward", "client")
    return {"publish.gateway.keys_file": place / "keys.jsonl"}
