"""What tests of several packages share: an embedded Ray away from any other, and the public data where it is."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def public_data() -> Path:
    """The folder with the public data sets; a test that needs it is skipped where there is none."""
    folder = Path(os.environ.get("SALUS_DATA", REPOSITORY.parent / "shared" / "data"))
    if not (folder / "xstest").is_dir():
        pytest.skip(f"no public data in {folder}")
    return folder


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Torch on one thread: tiny matrices gain nothing from more, and lose much where cores are shared."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


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
