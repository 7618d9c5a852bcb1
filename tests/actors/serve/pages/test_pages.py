"""What both pages promise: nothing inline, nothing from elsewhere, in the package, under any prefix."""

from __future__ import annotations

import fnmatch
import re
import tomllib
from importlib import resources
from pathlib import Path
from urllib.parse import urljoin

import pytest

from actors.serve.pages.compared import AnswersAsked, AnswersShown
from actors.serve.pages.dashboard_data import Board
from actors.serve.pages.explained import Explanation
from tests.actors.serve.pages.fakes import EMPTY, HOSTILE, TRAFFIC, app_of, get

PAGES = ("/review", "/dashboard", "/answers")
PACKAGE = Path(str(resources.files("actors.serve.pages")))
FILES = sorted(PACKAGE.glob("static/*")) + sorted(PACKAGE.glob("templates/*"))
# The namespace of SVG is a name, and nothing is fetched from there.
NAMESPACE = "http://www.w3.org/2000/svg"


@pytest.mark.parametrize("page", PAGES)
def test_the_policy_of_a_page_lets_nothing_else_in(page: str) -> None:
    policy = dict(part.split(" ", 1) for part in get(app_of(), page).headers["content-security-policy"].split("; "))
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' data:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }


def test_the_page_of_a_decision_runs_and_loads_nothing() -> None:
    reply = get(app_of(), "/dashboard/decisions/1")
    assert reply.status_code == 200 and "Decision of cycle 1" in reply.text
    policy = reply.headers["content-security-policy"]
    assert "default-src 'none'" in policy and policy.endswith("sandbox") and "script-src" not in policy
    assert reply.headers["cache-control"] == "no-store"
    assert get(app_of(), "/dashboard/decisions/2").status_code == 404
    assert get(app_of(), "/dashboard/decisions/0").status_code == 422


@pytest.mark.parametrize("page", PAGES)
def test_a_page_has_nothing_inline(page: str) -> None:
    text = get(app_of(), page).text
    assert re.findall(r"<script(?![^>]*\ssrc=)", text) == []
    assert re.findall(r"<style|\sstyle=|\son[a-z]+=|javascript:", text) == []


@pytest.mark.parametrize("prefix", ["", "/salus", "/a/b"])
@pytest.mark.parametrize("page", PAGES)
def test_every_file_of_a_page_is_served_for_good(page: str, prefix: str) -> None:
    app = app_of(prefix=prefix)
    found = re.findall(r'(?:src|href)="([^"#]+\.(?:js|css))"', get(app, prefix + page).text)
    assert len(found) >= 2
    for address in found:
        reply = get(app, urljoin(f"http://salus.test{prefix}{page}", address))
        assert reply.status_code == 200 and "immutable" in reply.headers["cache-control"]
        assert reply.headers["content-type"].startswith(("text/css", "text/javascript"))
        assert re.search(r"\.[0-9a-f]{12}\.(js|css)$", address)


@pytest.mark.parametrize(
    "name", ["review.js", "../review_routes.py", "..%2fassets.py", "%2e%2e/templates/review.html", ""]
)
def test_nothing_else_is_served(name: str) -> None:
    assert get(app_of(), f"/review/assets/{name}").status_code == 404


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_file_asks_nobody_else_and_makes_no_markup_of_text(file: Path) -> None:
    text = file.read_text(encoding="utf-8").replace(NAMESPACE, "")
    assert re.findall(r"https?://|//[a-z0-9.-]+\.[a-z]{2,}/|@import|url\(", text) == []
    forbidden = (
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|DOMParser|srcdoc|\|\s*safe"
    )
    assert re.findall(forbidden, text) == []


@pytest.mark.parametrize("file", [file for file in FILES if file.suffix == ".js"], ids=lambda file: file.name)
def test_nothing_is_fetched_by_an_address_that_may_hold_a_key(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert re.findall(r"\bfetch\((?!beside\()|XMLHttpRequest|EventSource|sendBeacon|WebSocket", text) == []
    # One place asks, for all pages.
    asks = file.name == "page.js"
    assert ("fetch(" in text) == ("new URL(path, location.origin + location.pathname)" in text) == asks


def test_every_file_is_part_of_the_package() -> None:
    project = tomllib.loads((PACKAGE.parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = project["tool"]["setuptools"]["package-data"]["actors"]
    names = [file.relative_to(PACKAGE.parents[1]).as_posix() for file in FILES]
    assert names and [name for name in names if not any(fnmatch.fnmatch(name, p) for p in patterns)] == []


def test_answers_are_asked_for_by_their_filters() -> None:
    reply = get(app_of(), "/answers/data?left=c1-kto&level=3&label=Refuse&disagreement=labels&page=2")
    shown = AnswersShown.model_validate_json(reply.content)
    assert shown.asked == AnswersAsked(left="c1-kto", level=3, label="Refuse", disagreement="labels", page=2)
    assert shown.rows[0].prompt == HOSTILE[1] and reply.headers["content-type"] == "application/json"
    for bad in ("level=4", "label=Perhaps", "page=0", "prompts=../train", f"left={'x' * 201}"):
        assert get(app_of(), f"/answers/data?{bad}").status_code == 422


def test_one_prompt_is_explained_and_an_unknown_one_is_a_sentence() -> None:
    found = Explanation.model_validate_json(get(app_of(), "/answers/prompt?prompt_id=p&nearest=2").content)
    assert found.prompt.prompt == HOSTILE[1] and len(found.nearest) == 2
    refused = get(app_of(), "/answers/prompt?prompt_id=..%2Fx")
    assert refused.status_code == 409 and refused.json() == {"error": "/run has no prompt '../x'."}
    for bad in ("", "prompt_id=", "prompt_id=p&nearest=11", f"prompt_id={'x' * 201}"):
        assert get(app_of(), f"/answers/prompt?{bad}").status_code == 422


def test_the_dashboards_data_comes_as_it_is() -> None:
    reply = get(app_of(), "/dashboard/data")
    assert Board.model_validate_json(reply.content) == Board(data=EMPTY, traffic=TRAFFIC)
    assert reply.json()["data"]["missing"] == list(HOSTILE)
    assert reply.headers["content-type"] == "application/json" and reply.headers["x-content-type-options"] == "nosniff"
