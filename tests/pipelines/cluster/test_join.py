"""A real Ray cluster of two nodes on this machine: what it has, and a plan it cannot hold."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import ray

from actors.errors import SalusError
from pipelines.cluster.join import join
from pipelines.cluster.plan import available, check, make_plan
from pipelines.config.load import load_recipe
from tests.ray_cluster import ray_cluster

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with ray_cluster(cpus=2) as cluster:
        cluster.add_node(num_cpus=1, num_gpus=4, object_store_memory=10**8)
        yield cluster.address


def test_both_nodes_count_and_ray_is_left_again(address: str) -> None:
    there = available(load_recipe("demo", [f"cluster.address={address}"]))
    assert (there.cpus, there.gpus, there.node_gpus) == (3, 4, 4)
    assert there.memory_gib > 0
    assert not ray.is_initialized()


def test_plan_with_too_many_cpus_is_refused_without_waiting(address: str) -> None:
    recipe = load_recipe("demo", [f"cluster.address={address}"])
    with pytest.raises(SalusError, match=r"CPUs, but the cluster at .* has 3"):
        check(make_plan(recipe), available(recipe))


def test_plan_with_too_many_gpus_is_refused_without_waiting(address: str) -> None:
    recipe = load_recipe("llama-3.1-8b", [f"cluster.address={address}", "cluster.logical_cpus=100"])
    with pytest.raises(SalusError, match=r"needs 8 GPUs, but the cluster at .* has 4, 4 too few"):
        check(make_plan(recipe), available(recipe))


def test_a_cluster_that_can_grow_is_believed(address: str) -> None:
    overrides = [
        f"cluster.address={address}",
        "cluster.gpus=8",
        "cluster.logical_cpus=100",
        "cluster.memory_gib=900",
    ]
    recipe = load_recipe("llama-3.1-8b", overrides)
    check(make_plan(recipe), available(recipe))


def test_no_cluster_at_the_address_is_one_sentence() -> None:
    with pytest.raises(SalusError, match=r"No Ray cluster answers at '127\.0\.0\.1:1'"):
        available(load_recipe("demo", ["cluster.address=127.0.0.1:1"]))


def test_what_the_workers_of_a_joined_cluster_write_is_private(address: str) -> None:
    def mask() -> int:
        now = os.umask(0)
        os.umask(now)
        return now

    join(address, "modes")
    try:
        task = ray.remote(num_cpus=0)(mask)
        with_variables = task.options(runtime_env={"env_vars": {"A": "1"}})
        assert ray.get([task.remote(), with_variables.remote()]) == [0o077, 0o077]
    finally:
        ray.shutdown()
