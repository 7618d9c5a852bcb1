"""What a cluster may grow to reaches processes that know no recipe."""

from __future__ import annotations

import pytest
import ray

from actors.contract import growth
from actors.contract.growth import Growth, boot_s, may_have, told_growth


@pytest.fixture
def has(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """What the cluster has now, and no autoscaler that reports more."""
    now = {"CPU": 8.0, "memory": 1.0}
    monkeypatch.setattr(ray, "cluster_resources", lambda: now)
    monkeypatch.setattr(growth, "most_resources", dict)
    return now


def tell(monkeypatch: pytest.MonkeyPatch, told: Growth) -> None:
    for name, value in told.environment.items():
        monkeypatch.setenv(name, value)


def test_nothing_told_is_what_there_is(has: dict[str, float]) -> None:
    assert told_growth() == Growth()
    assert may_have() == {"CPU": 8.0, "GPU": 0.0}
    assert boot_s() == 0.0


def test_a_cluster_from_zero_counts_what_was_told_and_waits_for_its_nodes(
    has: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    tell(monkeypatch, Growth(cpus=200, gpus=8, node_boot_s=600))
    assert may_have() == {"CPU": 200.0, "GPU": 8.0}
    assert boot_s() == 600
    has |= {"CPU": 200.0, "GPU": 8.0}
    assert boot_s() == 0.0


def test_a_report_of_the_autoscaler_counts_too(has: dict[str, float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "most_resources", lambda: {"GPU": 32})
    tell(monkeypatch, Growth(gpus=8))
    assert may_have()["GPU"] == 32
