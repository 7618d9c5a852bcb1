"""A model that is up behind routers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.actors.serve.router.published import Ward


@pytest.fixture
def ward(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ward:
    monkeypatch.setattr("actors.serve.publisher.publisher.check_address", lambda config: None)
    made = Ward(tmp_path)
    made.publisher.start(made.policies["a"])
    made.router.said.clear()
    return made
