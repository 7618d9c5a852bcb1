"""A registry whose clock stands still, and the published run in it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from actors.contract.run_folder import RunFolder
from pipelines.registry.register import register_run
from pipelines.registry.store import Registry

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "registry", clock=lambda: NOW)


@pytest.fixture
def versions(run: RunFolder, registry: Registry) -> Sequence[str]:
    """The registered versions of the run: the deployed model, KTO's of cycle 1, DPO's of cycle 2."""
    return [each.version or "" for each in register_run(run.root, registry)]
