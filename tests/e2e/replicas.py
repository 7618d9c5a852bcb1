"""The processes behind an endpoint that this process started."""

from __future__ import annotations

import psutil


def replica_processes() -> list[psutil.Process]:
    found = [p for p in psutil.Process().children(recursive=True) if "PolicyServer" in "".join(p.cmdline())]
    assert found
    return found
