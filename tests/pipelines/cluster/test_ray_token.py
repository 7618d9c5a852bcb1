"""An embedded Ray answers those who show its token, which is of that Ray alone and nowhere but in the environment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray

from pipelines.cluster.join import MODE, TOKEN, fresh_token
from pipelines.cluster.session import embedded_ray
from pipelines.config.cluster import ClusterConfig

JOIN = "import sys; from pipelines.cluster.join import join; join(sys.argv[1]); print('joined')"


def test_each_token_is_new_and_the_users_own_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKEN, "the user's")
    monkeypatch.delenv(MODE, raising=False)
    with fresh_token():
        first = os.environ[TOKEN]
        assert os.environ[MODE] == "token" and len(first) == 64 and first != "the user's"
        with fresh_token():
            assert os.environ[TOKEN] not in (first, "the user's")
        assert os.environ[TOKEN] == first
    assert os.environ[TOKEN] == "the user's" and MODE not in os.environ


@pytest.mark.ray
@pytest.mark.slow
def test_a_client_without_the_token_is_refused(tmp_path: Path) -> None:
    ray.shutdown()
    home = os.environ | {"HOME": str(tmp_path)}
    with embedded_ray(ClusterConfig(logical_cpus=1), "token-test", 1):
        address, token = ray.get_runtime_context().gcs_address, os.environ[TOKEN]
        nothing = {name: value for name, value in home.items() if name not in (MODE, TOKEN)}
        assert joins(address, {**home, MODE: "token", TOKEN: token}).endswith("joined\n")
        for shown in ({}, {MODE: "token", TOKEN: "0" * 64}):
            said = joins(address, nothing | shown)
            assert not said.endswith("joined\n") and "does not take this process' token" in said, said[-2000:]
        # Nobody who lists processes, or looks where Ray keeps its files, finds it.
        assert not any(token in " ".join(process.cmdline()) for process in psutil.process_iter() if readable(process))
        assert not (tmp_path / ".ray").exists()
        node: Any = ray._private.worker._global_node
        logs = [path for path in Path(node.get_session_dir_path()).rglob("*") if path.is_file()]
        assert logs and not [log for log in logs if token.encode() in log.read_bytes()]
    assert os.environ.get(TOKEN) != token


def joins(address: str, environment: dict[str, str]) -> str:
    """All that another process says which tries to be a driver of that Ray."""
    command = [sys.executable, "-c", JOIN, address]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    return ran.stdout + ran.stderr


def readable(process: psutil.Process) -> bool:
    try:
        process.cmdline()
    except psutil.Error:
        return False
    return True
