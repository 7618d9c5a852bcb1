"""What is used of Ray's and vLLM's inside is there in the versions that are named, and is cheap to import."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version

import pytest

from actors.contract import ray_internals
from actors.serve.replica import ray_llm


@pytest.mark.parametrize("module", [ray_llm, ray_internals])
def test_the_named_version_of_ray_is_the_installed_one(module: object) -> None:
    assert f"Ray {'.'.join(version('ray').split('.')[:2])}" in (module.__doc__ or "")


def test_importing_it_imports_no_engine() -> None:
    program = "import sys, actors.serve.replica.ray_llm; print(*({'torch', 'vllm', 'ray.serve'} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == []
