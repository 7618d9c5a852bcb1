"""Waiting for an actor that was killed: Ray ends it a moment later, and it may answer once more before."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import pytest
from ray.exceptions import RayActorError

Failure = TypeVar("Failure", bound=Exception)


def wait_until_gone(ask: Callable[[], object], timeout_s: float = 60.0) -> RayActorError:
    """Ask an actor until it is gone; fails where it still answers after that time."""
    return wait_until_fails(ask, RayActorError, timeout_s)


def wait_until_fails(ask: Callable[[], object], failure: type[Failure], timeout_s: float = 60.0) -> Failure:
    """The same by way of others, who fail in their own way where it is gone; returns what they raise."""
    until_s = time.monotonic() + timeout_s
    while time.monotonic() < until_s:
        try:
            ask()
        except failure as error:
            return error
        time.sleep(0.05)
    pytest.fail(f"The actor still answered after {timeout_s:g} s.")
