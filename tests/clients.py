"""Clients of the extras, which are in no environment but that of `make extras`."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

import pytest


def client(package: str) -> Any:
    """The package; where it is missing the test is skipped, but under `make extras` it fails."""
    return import_module(package) if "SALUS_EXTRAS" in os.environ else pytest.importorskip(package)
