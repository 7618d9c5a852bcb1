"""A published run, made once and copied for each test, and a registry whose clock stands still."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from actors.run_folder import RunFolder
from pipelines.registry.register import register_run
from pipelines.registry.store import Registry
from tests.pipelines.registry.published import publish_run

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """The original, which no test changes."""
    place = tmp_path_factory.mktemp("published")
    return publish_run(place / "demo-s7", place / "base")


@pytest.fixture
def run(made: RunFolder, tmp_path: Path) -> RunFolder:
    shutil.copytree(made.root, tmp_path / "demo-s7")
    return RunFolder(tmp_path / "demo-s7")


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "registry", clock=lambda: NOW)


@pytest.fixture
def versions(run: RunFolder, registry: Registry) -> Sequence[str]:
    """The registered versions of the run: the deployed model, KTO's of cycle 1, DPO's of cycle 2."""
    return [each.version or "" for each in register_run(run.root, registry)]
