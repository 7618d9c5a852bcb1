"""What tests of several packages share: an embedded Ray away from any other, and the public data where it is."""

from __future__ import annotations

import gc
import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.root import ROOT

# Where several processes test side by side, each core has one of them: a second thread of torch or BLAS only waits.
# It is read when they are imported, which nothing here does.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# Tests run side by side on busy cores: how long an example takes says nothing of the code.
settings.register_profile("salus", deadline=None)
settings.load_profile("salus")


@pytest.fixture(scope="session")
def public_data() -> Path:
    """The folder with the public data sets; a test that needs it is skipped where there is none."""
    folder = Path(os.environ.get("SALUS_DATA", ROOT.parent / "shared" / "data"))
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


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is imported here, more than a million objects, lives to the end: the garbage collector passes it over.

    Each training ends with a full collection, which would take as long as the training of a tiny model.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that share the embedded Ray come first, so that one start serves them all."""
    items.sort(key=lambda item: "ray_session" not in getattr(item, "fixturenames", ()))


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """Ray with eight logical CPUs, shared by all tests that need no Ray of their own; those that do shut it down."""
    from pipelines.cluster.session import embedded_ray, settle_ray_data
    from pipelines.config.cluster import ClusterConfig

    with embedded_ray(ClusterConfig(logical_cpus=8), "salus-tests", 8):
        settle_ray_data()
        yield


@pytest.fixture(scope="session")
def own_ray() -> None:
    """For tests of commands that start a Ray of their own: the shared one ends before the first of them."""
    import ray

    ray.shutdown()
