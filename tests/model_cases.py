"""Tiny model folders of every family, and those that users bring, made by the scripts of `shared/cases`."""

from __future__ import annotations

import importlib.util
import runpy
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.root import ROOT

SCRIPTS = ROOT.parent / "shared" / "cases"
needs_cases = pytest.mark.skipif(not SCRIPTS.is_dir(), reason="the scripts that make models are not beside this copy")


def families(out: Path, *names: str) -> Path:
    """`out` with a model folder of each family."""
    made = _models()
    for name in names:
        if not (out / name).is_dir():
            made.make(name, out / name)
    return out


def broken_models(base: Path, out: Path) -> Path:
    """`out` with the folders that users bring; `base` gets the families that they are made from."""
    families(base, "qwen2", "mistral", "llama")
    _run("broken_models.py", base, out)
    return out


def vision_model(out: Path) -> Path:
    """A tiny Gemma 3 with a tower for images."""
    _run("vision_model.py", out)
    return out


def _models() -> ModuleType:
    spec = importlib.util.spec_from_file_location("model_families", SCRIPTS / "models.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _run(script: str, *arguments: Path) -> None:
    former, path = sys.argv, list(sys.path)
    sys.argv = [script, *map(str, arguments)]
    try:
        runpy.run_path(str(SCRIPTS / script), run_name="__main__")
    finally:
        sys.argv, sys.path[:] = former, path
