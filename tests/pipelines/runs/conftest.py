"""One finished run for all tests of what is known of runs: measuring and drawing it takes seconds."""

from __future__ import annotations

import pytest

from tests.pipelines.runs.made import RunMaker


@pytest.fixture(scope="session")
def made_run(tmp_path_factory: pytest.TempPathFactory) -> RunMaker:
    """Makes finished run folders."""
    return RunMaker(tmp_path_factory.mktemp("template") / "run")
