"""The installed command: a folder of the user that has the name of one of Salus's packages is named."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.root import ROOT


def run(place: Path, *first: Path) -> subprocess.CompletedProcess[str]:
    """`salus settings patience`, installed outside the packages, where Python looks into `first` before all else."""
    installed = place / "bin" / "salus"
    installed.parent.mkdir()
    shutil.copy(ROOT / "actors" / "salus", installed)
    path = os.pathsep.join(map(str, (*first, ROOT)))
    command = [sys.executable, str(installed), "settings", "decide.patience"]
    return subprocess.run(command, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("file", ["pipelines/__init__.py", "actors/__init__.py", "pipelines.py"])
def test_what_hides_a_package_of_salus_is_named(tmp_path: Path, file: str) -> None:
    work = tmp_path / "work"
    (work / file).parent.mkdir(parents=True)
    (work / file).write_text("")
    ended = run(tmp_path, work)
    assert ended.returncode == 2
    assert ended.stdout == ""
    (sentence,) = ended.stderr.splitlines()
    assert f"{work / file}".removesuffix("/__init__.py") in sentence
    assert sentence.startswith("salus: ") and "rename it, or leave it out" in sentence


def test_a_folder_of_the_same_name_that_is_no_package_is_no_fault(tmp_path: Path) -> None:
    work = tmp_path / "work"
    (work / "pipelines").mkdir(parents=True)
    ended = run(tmp_path, work)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("decide.patience ")


def test_another_checkout_in_the_working_directory_is_no_fault(tmp_path: Path) -> None:
    work = tmp_path / "work"
    for package in ("actors", "pipelines"):
        shutil.copytree(ROOT / package, work / package, ignore=shutil.ignore_patterns("__pycache__"))
    assert run(tmp_path, work).returncode == 0
