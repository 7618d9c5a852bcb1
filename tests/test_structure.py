"""The rules of the layout: circles, the order of imports, full folders, where actors are made, private APIs, names."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

from tests.root import ROOT
from tests.test_imports import PACKAGES, name, sources

# A package's top level, which is also the order of imports: each entry uses only what comes before it.
ORDER = {
    "actors": (
        "errors", "files", "contract", "engine", "generator", "judges", "training", "merged", "coordinator", "serve",
        "remote",
    ),
    "pipelines": (
        "data", "config", "measures", "decision", "cluster", "runs", "report", "judges", "feedback", "registry",
        "alignment", "serving", "study", "cli", "docs",
    ),
}  # fmt: skip
MOST_ENTRIES = 15
# "salus" is the installed command, which is a script and no module: it looks before it imports either package.
NO_ENTRIES = {"__init__.py", "py.typed", "README.md", "salus"}
# The files that may use what a library keeps to itself: one that is cheap to import, one beside the engine's server.
PRIVATE_FILES = {
    "ray": ("actors/contract/ray_internals.py", "actors/serve/replica/ray_llm.py"),
    "torch": ("pipelines/data/tiny/pretrain.py",),
}
LIBRARIES = ("accelerate", "datasets", "openai", "peft", "pyarrow", "ray", "torch", "transformers", "trl", "vllm")
# Beside every name that begins with an underscore: what these libraries document for nobody.
INTERNAL = re.compile(r"(vllm\.(v1|utils|worker|executor)|ray\.(train|llm)\.v2|trl\.trainer)(\.|$)|.*\._[a-z]")


@cache
def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def module(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts)


@cache
def graph() -> Mapping[str, frozenset[str]]:
    """The modules of both packages, and those that each imports anywhere."""
    known = {module(file): file for file in sources(*PACKAGES) if file.name != "__init__.py"}
    return {name: frozenset(known.keys() & set(wanted(file))) - {name} for name, file in known.items()}


def wanted(file: Path) -> Iterator[str]:
    """What a file's imports may name: the modules, and what it takes from them, which may be modules too."""
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def in_circles(edges: Mapping[str, frozenset[str]]) -> list[str]:
    """All that come back to themselves, sorted."""

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        waiting = list(edges[start])
        while waiting:
            here = waiting.pop()
            if here not in seen:
                seen.add(here)
                waiting += edges[here]
        return seen

    return sorted(start for start in edges if start in reached(start))


def test_no_files_import_each_other_in_a_circle() -> None:
    found = in_circles(graph())
    assert not found, "\n".join(found)


def test_no_top_level_folders_import_each_other_in_a_circle() -> None:
    edges: dict[str, frozenset[str]] = {}
    for importer, imported in graph().items():
        here = top(importer)
        edges[here] = edges.get(here, frozenset()) | frozenset(map(top, imported)) - {here}
    found = in_circles(edges)
    assert not found, "\n".join(found)


def top(module: str) -> str:
    """A module's place at the top level of its package, as `actors.engine`."""
    return ".".join(module.split(".")[:2])


@pytest.mark.parametrize("package", PACKAGES)
def test_the_top_level_of_a_package_is_the_agreed_one(package: str) -> None:
    assert {Path(each).stem for each in entries()[package]} == set(ORDER[package])


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_go_one_way(package: str) -> None:
    place = {f"{package}.{each}": number for number, each in enumerate(ORDER[package])}
    backward = [
        f"{importer} -> {each}"
        for importer, imported in graph().items()
        for each in imported
        if top(importer) in place and place[top(importer)] < place.get(top(each), -1)
    ]
    assert not backward, "\n".join(sorted(backward))


def test_no_folder_is_crowded() -> None:
    crowded = [f"{folder}: {len(found)}" for folder, found in entries().items() if len(found) > MOST_ENTRIES]
    assert not crowded, "\n".join(sorted(crowded))


def entries() -> dict[str, set[str]]:
    """What lies in each folder, by the folder's path; of files alone, as an empty folder is none."""
    found: dict[str, set[str]] = defaultdict(set)
    files = (path.relative_to(ROOT) for package in PACKAGES for path in (ROOT / package).rglob("*") if path.is_file())
    for file in files:
        if "__pycache__" not in file.parts and file.name not in NO_ENTRIES:
            for folder in list(file.parents)[:-1]:
                found[folder.as_posix()].add(file.relative_to(folder).parts[0])
    return found


def test_actors_are_made_where_they_are_looked_for() -> None:
    found = {name(file): list(actors_made(file)) for file in sources(*PACKAGES) if not is_for_actors(file)}
    elsewhere = [f"{file}: {', '.join(classes)}" for file, classes in found.items() if classes]
    assert not elsewhere, "\n".join(elsewhere)


def is_for_actors(file: Path) -> bool:
    return name(file) == "actors/remote.py" or file.name == "actor.py"


def actors_made(file: Path) -> Iterator[str]:
    """The classes that a file hands to `ray.remote`, as a decorator or in a call; a task is made of a function."""
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.ClassDef) and any("ray.remote" in ast.unparse(each) for each in node.decorator_list):
            yield node.name
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("ray.remote"):
            for given in node.args:
                if isinstance(given, ast.Name) and given.id[:1].isupper():
                    yield given.id
        if isinstance(node, ast.ImportFrom) and node.module == "ray":
            yield from (f"ray.{alias.name}" for alias in node.names if alias.name == "remote")


def test_what_libraries_keep_to_themselves_is_used_in_named_files() -> None:
    found = [
        f"{name(file)}: {each}"
        for file in sources(*PACKAGES)
        for each in private_names(file)
        if name(file) not in PRIVATE_FILES.get(each.split(".")[0], ())
    ]
    assert not found, "\n".join(found)


def private_names(file: Path) -> Iterator[str]:
    """Private modules, and private names in public ones, that a file imports or reaches through what it imported."""
    full = [each for each in wanted(file) if each.split(".")[0] in LIBRARIES]
    reached = {
        ast.unparse(node)
        for node in ast.walk(tree(file))
        if isinstance(node, ast.Attribute) and ast.unparse(node).split(".")[0] in LIBRARIES
    }
    yield from sorted(each for each in {*full, *reached} if INTERNAL.match(each))


def test_a_class_name_is_unique() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for file in sources(*PACKAGES):
        for node in ast.walk(tree(file)):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(name(file))
    shared = [f"{each}: {', '.join(files)}" for each, files in places.items() if len(files) > 1]
    assert not shared, "\n".join(sorted(shared))
