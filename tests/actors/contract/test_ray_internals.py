"""Ray's internals are those of the version they were read in: another version needs another look."""

from __future__ import annotations

from typing import Any

import ray

from actors.contract import ray_internals


def test_they_are_of_the_version_they_were_read_in() -> None:
    assert ray.__version__ == "2.60.0"


def test_they_are_there() -> None:
    compiled: Any = ray_internals._raylet
    assert callable(ray_internals.most_resources)
    assert callable(compiled.Config.initialize)
    assert callable(compiled.AuthenticationTokenLoader.instance().reset_cache)
