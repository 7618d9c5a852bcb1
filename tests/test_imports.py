"""The direction of imports, and the house's rules about files."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.root import ROOT

PACKAGES = ("actors", "pipelines")
FORBIDDEN_NAMES = {"utils.py", "util.py", "common.py", "helpers.py", "helper.py", "misc.py"}
ALLOWED_AT_THE_TOP = {
    "actors", "pipelines", "tests", "pyproject.toml", "cluster.yaml", "README.md", "CHANGELOG.md",
    "LICENSE", "Makefile", "requirements-cpu.lock", "requirements-dev.lock", "requirements-extras.lock",
}  # fmt: skip
# Made beside the sources and ignored by git.
MADE = {"runs", "registry", "build", "dist", "salus.egg-info"}


def sources(*packages: str) -> list[Path]:
    return sorted(file for package in packages for file in (ROOT / package).rglob("*.py"))


def imported(file: Path) -> Iterator[str]:
    """Dotted names of every import of a file, wherever it stands."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield ("." * node.level) + (node.module or "")


def name(file: Path) -> str:
    return str(file.relative_to(ROOT))


def test_there_are_sources() -> None:
    assert all(sources(package) for package in PACKAGES)


@pytest.mark.parametrize("file", sources("actors"), ids=name)
def test_actors_never_import_pipelines(file: Path) -> None:
    assert not [module for module in imported(file) if module.split(".")[0] == "pipelines"]


@pytest.mark.parametrize("file", sources(*PACKAGES), ids=name)
def test_nothing_imports_tests_relatively_or_pickle(file: Path) -> None:
    modules = list(imported(file))
    assert not [m for m in modules if m.startswith(".") or m.split(".")[0] in ("tests", "pickle")]


@pytest.mark.parametrize("file", sources(*PACKAGES), ids=name)
def test_every_module_says_what_it_is(file: Path) -> None:
    doc = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))
    assert doc
    assert len(doc.split("\n\n")[0].splitlines()) <= 6


# What every `salus` command imports, and what the processes import that only hold or hand over work.
LIGHT = (
    "pipelines",
    "pipelines.cli.main",
    "pipelines.alignment.run",
    "pipelines.alignment.preference",
    "actors.remote",
    "actors.training.resident.loop",
)
HEAVY = ("torch", "transformers", "vllm", "trl", "ray.serve", "scipy", "openai", "matplotlib")


@pytest.mark.parametrize("module", LIGHT)
def test_what_starts_often_imports_nothing_heavy(module: str) -> None:
    program = f"import sys, {module}; print(*(name for name in {HEAVY} if name in sys.modules))"
    ran = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.split() == []


def test_no_file_has_a_name_that_says_nothing() -> None:
    assert not [name(f) for f in sources(*PACKAGES, "tests") if f.name in FORBIDDEN_NAMES]


def test_top_level_is_as_agreed() -> None:
    found = {path.name for path in ROOT.iterdir() if not path.name.startswith(".")}
    assert found - ALLOWED_AT_THE_TOP - MADE == set()


# Who writes otherwise than durably: the fetched copies of a store, held against their sums, a proxy's own files, and
# merged weights, which no later boot finds.
WRITES_ITSELF = (
    "actors/files/atomic.py",
    "actors/merged.py",
    "actors/serve/proxy/environment.py",
    "actors/serve/proxy/haproxy_config.py",
    "pipelines/runs/store/",
)
WRITING = {"fsync", "rename", "write_text", "write_bytes", "mkstemp", "NamedTemporaryFile"}


def writing(file: Path) -> Iterator[str]:
    """Calls of a file that put content or a name on the disk by themselves."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            called, of = node.func.attr, node.func.value
            # A string's has two arguments, a path's has one.
            alone = len(node.args) == 1 and not isinstance(node.args[0], ast.Starred)
            moves = called == "replace" and (alone or (isinstance(of, ast.Name) and of.id == "os"))
            if called in WRITING or moves:
                yield f"{called}, line {node.lineno}"


@pytest.mark.parametrize("file", sources(*PACKAGES), ids=name)
def test_files_are_written_and_named_by_the_durable_functions_alone(file: Path) -> None:
    assert name(file).startswith(WRITES_ITSELF) or not list(writing(file))


def test_no_parameter_of_sql_is_numbered() -> None:
    """Python 3.12.0 to 3.12.3 take `?1` for a named one, and warn of the tuple that its value comes in."""
    assert not [name(f) for f in sources(*PACKAGES) if re.search(r"\?[1-9]\b", f.read_text(encoding="utf-8"))]
