"""An embedded Ray leaves the environment of the process that started it as it was."""

from __future__ import annotations

import os

import pytest
import ray

from actors.serve.config import PublisherConfig
from pipelines.cluster.environment import environment, ray_environment
from pipelines.cluster.session import embedded_ray
from pipelines.config.cluster import ClusterConfig


def test_variables_have_their_former_values_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SALUS_SET", "before")
    monkeypatch.delenv("SALUS_UNSET", raising=False)
    with pytest.raises(ZeroDivisionError), environment({"SALUS_SET": "inside", "SALUS_UNSET": "inside"}):
        assert os.environ["SALUS_SET"] == os.environ["SALUS_UNSET"] == "inside"
        raise ZeroDivisionError
    assert os.environ["SALUS_SET"] == "before" and "SALUS_UNSET" not in os.environ


def test_what_the_user_says_of_ray_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_SERVE_CONTROL_LOOP_INTERVAL_S", "3")
    monkeypatch.delenv("REPORTER_UPDATE_INTERVAL_MS", raising=False)
    variables = ray_environment(4)
    assert variables["RAY_SERVE_CONTROL_LOOP_INTERVAL_S"] == "3" and variables["REPORTER_UPDATE_INTERVAL_MS"] == "30000"


@pytest.mark.ray
def test_a_session_leaves_nothing_in_the_environment() -> None:
    # A command that this process starts later would look for a proxy in a folder that is gone.
    ray.shutdown()
    before = dict(os.environ)
    with embedded_ray(ClusterConfig(logical_cpus=1), "session-test", 1, PublisherConfig(proxy="haproxy")):
        assert os.environ["RAY_SERVE_ENABLE_HA_PROXY"] == "1"
    left = {name for name in before.keys() | os.environ.keys() if before.get(name) != os.environ.get(name)}
    # Ray's own, set once in each process that imports it.
    assert left <= {"PYTHONBREAKPOINT", "RAY_USAGE_STATS_ENABLED"}
