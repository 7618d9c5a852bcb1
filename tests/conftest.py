"""An embedded Ray for the tests of a file, quiet and away from any other."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module")
def ray_session() -> Iterator[None]:
    """Ray with eight logical CPUs, shut down after the last test of a file: some tests start clusters of their own."""
    import ray

    from pipelines.session import settle_ray_data

    os.environ.setdefault("RAY_worker_maximum_startup_concurrency", "8")
    if not ray.is_initialized():
        ray.init(
            # Never a cluster that happens to run on this machine.
            address="local",
            num_cpus=8,
            namespace="salus-tests",
            object_store_memory=300 * 2**20,
            include_dashboard=False,
            logging_level=logging.ERROR,
            log_to_driver=False,
        )
    settle_ray_data()
    yield
    ray.shutdown()
