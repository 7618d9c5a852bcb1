"""What the Makefile's targets do beside installing and starting: an environment keeps the Python it was made with."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.root import ROOT

LAYERS = {"lock": "requirements-cpu.lock", "tools": "requirements-dev.lock", "project": "pyproject.toml"}


@pytest.fixture
def venv(tmp_path: Path) -> Path:
    """An environment that is set up, of a Python that is none of those here."""
    python = tmp_path / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\necho Python 3.99.1\n")
    python.chmod(0o755)
    for layer, file in LAYERS.items():
        told = subprocess.run(["cksum"], input=(ROOT / file).read_bytes(), capture_output=True, check=True)
        (tmp_path / "venv" / f".salus-{layer}-{told.stdout.decode().split()[0]}").touch()
    return tmp_path / "venv"


def set_up(venv: Path, *more: str) -> subprocess.CompletedProcess[str]:
    asked = ["make", "-s", "-C", str(ROOT), "setup", f"VENV={venv}", *more]
    # A make that runs these tests leaves its options and variables here, which are not those of a user.
    own = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(asked, capture_output=True, text=True, check=False, env=own)


def test_an_environment_of_another_python_is_refused_with_its_cure(venv: Path) -> None:
    told = set_up(venv, f"PYTHON={sys.executable}")
    assert told.returncode == 2
    assert told.stderr.startswith(f"salus: {venv} has Python 3.99.1; name another folder for {sys.executable} with")


def test_without_a_python_the_environment_is_used_as_it_is(venv: Path) -> None:
    told = set_up(venv)
    assert (told.returncode, told.stdout, told.stderr) == (0, "", "")
