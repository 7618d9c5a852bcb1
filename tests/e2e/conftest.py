"""The tiny deployed policy, its judge and its recipe, built once for all end-to-end tests."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from filelock import FileLock

from actors.errors import SalusError
from pipelines.config.load import load_recipe
from pipelines.config.recipe import Recipe
from tests.e2e.deployed import build_judge, build_policy, write_requests

TINY = Path(__file__).parent / "tiny.yaml"


@pytest.fixture(scope="session")
def deployed(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder with `policy/`, `judge/` and `requests.jsonl`; processes that test side by side share it."""
    base = tmp_path_factory.getbasetemp()
    root = (base if worker_id == "master" else base.parent) / "deployed"
    with FileLock(root.with_suffix(".lock")):
        if not (root / "requests.jsonl").is_file():
            build_policy(root / "policy")
            build_judge(root / "judge")
            write_requests(root / "requests.jsonl")
    return root


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def settings(deployed: Path) -> list[str]:
    """What `tests/e2e/tiny.yaml` leaves to be set."""
    return [
        f"model.path={deployed / 'policy'}",
        f"judge.path={deployed / 'judge'}",
        f"data.path={deployed / 'requests.jsonl'}",
        f"publish.port={free_port()}",
    ]


@pytest.fixture(scope="session")
def recipe(settings: list[str]) -> Recipe:
    """Two generators, a judge, two workers for each of KTO and DPO."""
    try:
        return load_recipe(str(TINY), settings)
    except SalusError as error:
        pytest.fail(str(error))
