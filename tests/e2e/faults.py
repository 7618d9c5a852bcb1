"""What tests of faults share: what a run leaves behind, and waiting for a moment of it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from pathlib import Path

from actors.contract.run_folder import RunFolder
from tests.e2e.processes import running

# What is the same in every run of one recipe and seed on one machine, whatever happened to it.
SAME = ("**/*.parquet", "**/*.safetensors", "**/decision.json", "**/assignment.json", "**/adapter_config.json")


def wait_until(happened: Callable[[], bool], seconds: float = 900) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def results(root: Path) -> dict[str, str]:
    """SHA-256 by name of every file that should not depend on what happened; Ray Train's own state is not one."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for pattern in SAME
        for path in sorted(root.glob(pattern))
        if RunFolder(root).train_storage not in path.parents
    }


def left_running() -> list[str]:
    return ["".join(p.cmdline()) for p in running("ray::")]
