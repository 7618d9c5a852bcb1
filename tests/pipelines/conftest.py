"""Runs that tests of several packages look at, each made once: measuring, drawing and building them takes seconds."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from actors.contract.run_folder import RunFolder
from pipelines.registry.register import register_run
from pipelines.registry.store import Registry
from tests.pipelines.runs.finished.made import RunMaker

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture(scope="session")
def made_run(tmp_path_factory: pytest.TempPathFactory) -> RunMaker:
    """Makes finished run folders."""
    return RunMaker(tmp_path_factory.mktemp("template") / "run")


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run of two cycles that published its winners, with tiny weights; no test changes it."""
    # Imported here: torch takes seconds, and most tests here do without.
    from tests.pipelines.registry.published import publish_run

    place = tmp_path_factory.mktemp("published")
    return publish_run(place / "demo-s7", place / "base")


@pytest.fixture
def run(published: RunFolder, tmp_path: Path) -> RunFolder:
    """A copy of the published run, which the test may change."""
    shutil.copytree(published.root, tmp_path / "demo-s7")
    return RunFolder(tmp_path / "demo-s7")


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """A registry whose clock stands still."""
    return Registry(tmp_path / "registry", clock=lambda: NOW)


@pytest.fixture
def versions(run: RunFolder, registry: Registry) -> Sequence[str]:
    """The registered versions of the run: the deployed model, KTO's of cycle 1, DPO's of cycle 2."""
    return [each.version or "" for each in register_run(run.root, registry)]
