"""A published run of two cycles, made once and copied for each test."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from actors.run_folder import RunFolder
from tests.pipelines.registry.published import publish_run


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """The original, which no test changes."""
    place = tmp_path_factory.mktemp("shown")
    return publish_run(place / "demo-s7", place / "base")


@pytest.fixture
def run(published: RunFolder, tmp_path: Path) -> RunFolder:
    shutil.copytree(published.root, tmp_path / "demo-s7")
    return RunFolder(tmp_path / "demo-s7")
