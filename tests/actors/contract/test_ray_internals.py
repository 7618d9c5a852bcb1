"""Ray's internals are those of the version they were read in: another version needs another look."""

from __future__ import annotations

from typing import Any

import pytest
import ray

from actors.contract import ray_internals


def test_they_are_of_the_version_they_were_read_in() -> None:
    assert ray.__version__ == "2.60.0"


def test_they_are_there() -> None:
    compiled: Any = ray_internals._raylet
    assert callable(ray_internals.most_resources)
    assert callable(compiled.Config.initialize)
    assert callable(compiled.AuthenticationTokenLoader.instance().reset_cache)


def test_ray_prints_nothing_of_its_own_retries(capsys: pytest.CaptureFixture[str]) -> None:
    assert callable(ray_internals.worker.listen_error_messages)
    # The listener finds it by this name.
    assert "print_to_stdstream" in ray_internals.worker.listen_error_messages.__code__.co_names
    ray_internals.quiet_errors()
    ray_internals.worker.print_to_stdstream({"lines": ["There are infinite retries remaining"]}, ignore_prefix=False)
    assert capsys.readouterr().out == ""
