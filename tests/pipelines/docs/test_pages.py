"""Every Markdown page: links lead somewhere, `salus` commands parse, settings are known, YAML, JSON and Python load."""

from __future__ import annotations

import ast
import json
import os.path
import re
import shlex
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from pipelines.cli.main import app
from pipelines.config.catalog import EXTENDS, setting_lines
from pipelines.config.recipe import Recipe
from pipelines.docs.links import code_blocks, headings, link_targets, without_code
from pipelines.runs.open import FORMAT
from pipelines.serving.settings import ServeSettings
from pipelines.study.config import StudyConfig
from pipelines.study.fleet.config import FleetConfig
from tests.root import ROOT
from tests.test_imports import name
from tests.test_plain_english import pages

PAGES = [*pages(), ROOT / "CHANGELOG.md"]
HISTORY = (ROOT / "CHANGELOG.md", ROOT / "tests" / "benchmarks" / "README.md")
KINDS = (Recipe, StudyConfig, FleetConfig, ServeSettings)
SHELL = {"", "sh", "bash", "shell", "console"}
SPAN = re.compile(r"`(salus [^`]+)`")
SET = re.compile(r"--set[ =](?:'|\")?([A-Za-z_][\w.-]*)=")
LISTED = re.compile(r"\s*(?:,|\|)\s")


@cache
def text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for target in link_targets(text(page)):
        path, _, anchor = target.partition("#")
        found = Path(os.path.normpath(page.parent / path)) if path else page
        there = found.exists() and found.is_relative_to(ROOT)
        if not there or (anchor and found.suffix == ".md" and anchor not in headings(text(found))):
            broken.append(target)
    assert not broken


def commands(page: Path) -> Iterator[list[str]]:
    """The words of every `salus` command in the page's blocks."""
    for block in code_blocks(text(page)):
        # With arrows it is a drawing.
        if block.language not in SHELL or "->" in block.code:
            continue
        for line in block.code.replace("\\\n", " ").splitlines():
            try:
                words = shlex.split(line, comments=True)
            except ValueError:
                continue
            while "salus" in words:
                words = words[words.index("salus") + 1 :]
                end = next((at for at, word in enumerate(words) if word in ("|", ">", "&&", ";")), len(words))
                yield words[:end]


@cache
def whole() -> Any:
    """The command `salus`; to make it takes a while."""
    return typer.main.get_command(app)


def resolved(words: list[str]) -> tuple[Any, list[str]]:
    """The command that words name, and what is left of them for it."""
    command = whole()
    while (inner := getattr(command, "commands", None)) is not None and words:
        if words[0] not in inner:
            # `salus judge RECIPE` leaves out the name of its command.
            default = inner.get("cycle")
            assert default is not None, f"there is no command {words[0]!r}"
            return default, words
        command, words = inner[words[0]], words[1:]
    return command, words


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_parse(page: Path) -> None:
    faults = []
    for words in commands(page):
        try:
            command, rest = resolved(words)
            if not hasattr(command, "commands"):
                with command.make_context("salus", rest, resilient_parsing=False):
                    pass
        except (typer.TyperException, AssertionError) as error:
            faults.append(f"salus {shlex.join(words)}: {error}")
    assert not faults


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_named_commands_and_their_options_are_there(page: Path) -> None:
    faults = []
    for span in SPAN.findall(without_blocks(text(page))):
        words = LISTED.split(" ".join(span.split()))[0].split()[1:]
        try:
            command, _ = resolved([word for word in words if not word.startswith("-")])
        except AssertionError as error:
            faults.append(f"{span}: {error}")
            continue
        options = {option for param in command.params for option in param.opts} | {"--help"}
        known = getattr(command, "commands", None) is not None
        faults += [f"{span}: {word}" for word in words if word.startswith("--") and not known and word not in options]
    assert not faults


def without_blocks(page: str) -> str:
    for block in code_blocks(page):
        page = page.replace(block.code, "")
    return page


@cache
def known_settings() -> tuple[re.Pattern[str], ...]:
    names = {line.name for kind in KINDS for line in setting_lines(kind)}
    return tuple(re.compile(re.escape(each).replace("NAME", r"[\w-]+") + r"(\..+)?") for each in sorted(names))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_settings_are_known(page: Path) -> None:
    if page in HISTORY:
        pytest.skip("it tells of settings as they were")
    # A name in capitals is a place for one.
    named = [each for each in SET.findall(text(page)) if not each.isupper()]
    assert not [each for each in named if not any(pattern.fullmatch(each) for pattern in known_settings())]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_blocks_load(page: Path) -> None:
    for block in code_blocks(text(page)):
        where = f"{name(page)}, line {block.line}"
        if block.language in ("yaml", "yml"):
            loaded = yaml.safe_load(block.code)
            keys = {EXTENDS, *(key for kind in KINDS for key in kind.model_fields)}
            assert isinstance(loaded, dict) and loaded.keys() <= keys, where
        elif block.language == "json":
            json.loads(block.code)
        elif block.language == "python":
            ast.parse(block.code)


def test_the_changelog_begins_with_this_release() -> None:
    project = tomllib.loads(text(ROOT / "pyproject.toml"))["project"]
    first = re.search(r"^## (\S+)", text(ROOT / "CHANGELOG.md"), re.MULTILINE)
    assert first is not None and first[1] == project["version"]
    assert f"have format {FORMAT}." in text(ROOT / "CHANGELOG.md").split("## ")[0]


def test_what_is_broken_is_found() -> None:
    page = "[a](b.md) `[c](d.md)` ![e](f.png#g)\n\n```\n[h](i.md)\nsalus align demo --no-such\n```\n[j](https://k)\n"
    assert link_targets(page) == ["b.md", "f.png#g"]
    assert [(block.language, block.line) for block in code_blocks(page)] == [("", 4)]
    assert headings("# A `b`: c\n\n```\n# no\n```\n") == {"a-b-c"}
    assert "salus" not in without_code(page)
    with pytest.raises(AssertionError, match="no command 'algin'"):
        resolved(["algin", "demo"])
