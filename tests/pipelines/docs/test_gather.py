"""The site's pages: every README is there, every link leads to one of them, and the reference is whole."""

from __future__ import annotations

import os.path
import re
from pathlib import Path, PurePosixPath

import pytest

from actors.contract.run_folder import RunFolder
from actors.errors import SalusError
from pipelines.docs.gather import PARTS, gather
from pipelines.docs.links import headings, link_targets, moved
from pipelines.docs.reference import commands_page, endpoint_metrics, routes_page, run_folder_page, settings_page
from tests.pipelines.cli.every_command import commands
from tests.root import ROOT
from tests.test_imports import PACKAGES


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("docs") / "pages"
    gather(out)
    return out


def test_every_readme_and_page_is_there(site: Path) -> None:
    found = [readme for package in PACKAGES for readme in (ROOT / package).rglob("README.md")]
    readmes = {readme.parent.relative_to(ROOT) for readme in found}
    assert {p.relative_to(site / "code").with_suffix("") for p in (site / "code").rglob("*.md")} == readmes
    assert all(list((site / folder).rglob("*.md")) for folder in PARTS.values())


def test_every_link_leads_to_a_page(site: Path) -> None:
    broken = []
    for page in site.rglob("*.md"):
        for target in link_targets(page.read_text(encoding="utf-8")):
            path, _, anchor = target.partition("#")
            found = Path(os.path.normpath(page.parent / path)) if path else page
            named = not anchor or anchor in headings(found.read_text(encoding="utf-8")) if found.is_file() else False
            if not named:
                broken.append(f"{page.relative_to(site)}: {target}")
    assert not broken


def test_every_page_is_in_the_navigation(site: Path) -> None:
    named = re.findall(r"\]\((.+?)\)", (site / "SUMMARY.md").read_text(encoding="utf-8"))
    assert sorted(named) == sorted(p.relative_to(site).as_posix() for p in site.rglob("*.md") if p.name != "SUMMARY.md")


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(SalusError, match="holds no pages of this site"):
        gather(tmp_path)
    assert (tmp_path / "mine.txt").is_file()


def test_links_follow_a_page_that_moves() -> None:
    places = {"a/README.md": "code/a.md", "b/c.md": "how-to/c.md"}
    code = "`[c](../b/c.md)`\n```\n[c](../b/c.md)\n```\n"
    page = f"[c](../b/c.md#d) [folder](.) [code](x.py) [out](https://e) {code}"
    known = {PurePosixPath(source): PurePosixPath(place) for source, place in places.items()}
    assert moved(page, PurePosixPath("a/README.md"), known) == (
        f"[c](../how-to/c.md#d) [folder](a.md) code (`a/x.py`) [out](https://e) {code}"
    )


def test_the_reference_is_whole() -> None:
    page = commands_page()
    assert [words for words in commands() if f"## salus {words}\n" not in page] == []
    settings = settings_page()
    assert all(f"`{name}`" in settings for name in ("decide.patience", "train.challengers.kto.beta", "poll_s"))
    declared = set()
    for file in (ROOT / "actors" / "serve").rglob("*.py"):
        declared |= set(re.findall(r"\"(salus_[a-z_]+)\", \"?", file.read_text(encoding="utf-8")))
    named = {metric.name for metric in endpoint_metrics()}
    assert named >= {"salus_requests", "salus_guard_responses", "salus_capture"}
    assert all(metric.meaning for metric in endpoint_metrics())
    assert declared <= named
    assert "`/v1/chat/completions`" in routes_page() and "`/review`" in routes_page()
    places = [n for n, m in vars(RunFolder).items() if isinstance(m, property) or callable(m)]
    assert len(places) > 30 and run_folder_page().count("\n| `") > 30
