"""Review page and dashboard in a real browser, over a real run folder, with hostile answers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("selenium")

from fastapi import FastAPI
from selenium.webdriver import ActionChains
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from actors.contract.records import LABELS
from actors.serve.pages.answers_routes import answers_router
from actors.serve.pages.dashboard_data import Traffic
from actors.serve.pages.dashboard_routes import dashboard_router
from actors.serve.pages.review_routes import review_router
from pipelines.feedback.review.consensus import settle
from pipelines.feedback.review.labels import LabelLog
from pipelines.feedback.review.stored import read_labels
from pipelines.serving.dashboard.pages_data import PagesData
from tests.actors.serve.gateway.served import Served
from tests.actors.serve.pages.fakes import HOSTILE
from tests.e2e.browser import Browser, chromium, has_chromium, served
from tests.pipelines.feedback.review.answered import TORN, answered, write_judgments
from tests.pipelines.registry.published import publish_run
from tests.pipelines.report.tracking.curves import put_curve
from tests.pipelines.serving.dashboard.controlled import put_checked

if TYPE_CHECKING:
    from actors.contract.run_folder import RunFolder

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.skipif(not has_chromium(), reason="Chromium and its driver are not installed"),
]
LONG = "Keep the box below 25 degrees. " * 40
WIDTHS = (400, 800, 1600)
# axe.min.js of axe-core's package, where there is one.
AXE = Path(os.environ["SALUS_AXE"]) if "SALUS_AXE" in os.environ else None
PAGES = ("review", "dashboard", "answers")
TRAFFIC = Traffic(window_s=60, requests=90, requests_per_s=1.5, p50_s=0.21, p99_s=1.3, errors=2)


class Meter:
    async def traffic(self) -> Traffic | None:
        return TRAFFIC


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """Two published cycles; the answers of a third wait for review, hostile ones among them."""
    place = tmp_path_factory.mktemp("shown")
    folder = publish_run(place / "demo-s7", place / "base")
    texts = (*HOSTILE, LONG, "unbroken" * 60, "plain")
    rows = [answered(i, TORN, i % 4, disagreement=1 - i / 20, answer=text) for i, text in enumerate(texts)]
    write_judgments(folder.root, 3, rows)
    put_checked(folder, 1)
    return folder


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    return tmp_path / "labels"


@pytest.fixture
def address(run: RunFolder, labels: Path) -> Iterator[str]:
    put_curve(run, 1, "kto", 40)
    pages = PagesData(run.root, labels, meter=Meter())
    app = FastAPI()
    app.include_router(review_router(pages))
    app.include_router(dashboard_router(pages))
    app.include_router(answers_router(pages))
    with served(app) as found:
        yield found


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    with chromium(tmp_path / "profile") as found:
        found.window(1600)
        yield found


def press(browser: Browser, *keys: str) -> None:
    """Each key once, and until the page has said what came of it."""
    for key in keys:
        browser.driver.execute_script("document.getElementById('said').textContent = ''")
        ActionChains(browser.driver).send_keys(key).perform()
        browser.wait("return document.getElementById('said').textContent !== ''")


def typed(browser: Browser, *keys: str) -> None:
    """The same of what the page says nothing to."""
    ActionChains(browser.driver).send_keys(*keys).perform()


def focused(browser: Browser) -> str:
    """The id of the element that has the focus."""
    return browser.driver.switch_to.active_element.get_attribute("id") or ""


def shown(browser: Browser, page: str) -> None:
    browser.driver.get(page)
    ready = "return !document.body.textContent.includes('Loading')"
    browser.wait(ready)


def test_three_answers_are_labelled_by_keys_and_kept(
    browser: Browser, address: str, labels: Path, tmp_path: Path
) -> None:
    shown(browser, f"{address}/review")
    answers = [browser.text("answer")]
    browser.shot(tmp_path / "review-1600.png")
    for key in "123":
        press(browser, key)
        answers.append(browser.text("answer"))
    assert len(set(answers)) == 4
    assert browser.text("said").startswith("Labelled Refuse. ")
    kept = {gold.answer: gold.label for gold in settle(read_labels(labels)).gold}
    assert kept == dict(zip(answers[:3], ("Accept", "Caution", "Refuse"), strict=True))
    press(browser, "u")
    assert browser.text("answer") == answers[2] and len(settle(read_labels(labels)).gold) == 2
    press(browser, "s")
    assert browser.text("answer") == answers[3]
    # A reader of the screen goes on from the new answer.
    assert focused(browser) == "item-heading"
    # Keys write while one writes, and label again after Escape. What was written goes with the label, and comes back.
    typed(browser, "c")
    typed(browser, "12 <b>us?", Keys.ESCAPE)
    assert focused(browser) == "item-heading" and browser.text("answer") == answers[3]
    press(browser, "2")
    assert [gold.comments for gold in settle(read_labels(labels)).gold][2:] == [("12 <b>us?",)]
    comment = browser.driver.find_element("id", "comment")
    assert comment.get_attribute("value") == ""
    press(browser, "u")
    assert comment.get_attribute("value") == "12 <b>us?" and browser.text("answer") == answers[3]
    assert_clean(browser, address)


def test_hostile_answers_are_shown_and_do_nothing(browser: Browser, address: str, labels: Path) -> None:
    shown(browser, f"{address}/review")
    seen: list[str] = []
    while not browser.driver.execute_script("return document.getElementById('item').hidden"):
        seen.append(browser.text("answer"))
        assert browser.driver.execute_script(
            "return document.querySelector('#item img, #item script, #item a') === null"
        )
        press(browser, "3")
    assert set(HOSTILE) <= set(seen) and LONG in seen
    assert len(settle(read_labels(labels)).gold) == len(seen)
    assert browser.driver.execute_script("return window.pwned === undefined")
    assert browser.driver.find_element("id", "done").is_displayed()
    assert_clean(browser, address)


def test_keys_can_be_switched_off_and_buttons_stay(browser: Browser, address: str, labels: Path) -> None:
    shown(browser, f"{address}/review")
    first = browser.text("answer")
    browser.driver.find_element("id", "keys").click()
    typed(browser, "1?")
    assert not browser.driver.find_element("id", "keys-help").is_displayed()
    browser.driver.find_element("id", "caution").click()
    browser.wait("return document.getElementById('answer').textContent !== arguments[0]", first)
    assert [(gold.answer, gold.label) for gold in settle(read_labels(labels)).gold] == [(first, "Caution")]


def test_the_judges_word_the_keys_and_the_agreement_of_reviewers(browser: Browser, address: str, labels: Path) -> None:
    for number in range(10):
        for reviewer, label in (("anonymous", LABELS[number % 3]), ("bob", LABELS[number % 3 if number else 2])):
            LabelLog(labels).add(f"request {number}", "of another run", label, reviewer)
    shown(browser, f"{address}/review")
    told = "You and other reviewers labelled 10 of the same answers and all agree on 90 % of them"
    assert browser.text("agreement").startswith(told) and "alpha 0.8" in browser.text("agreement")
    # What is behind the list of keys takes neither keys nor focus.
    first = browser.text("answer")
    browser.driver.find_element("id", "judged").find_element("tag name", "summary").click()
    typed(browser, "j?")
    keys = browser.driver.find_element("id", "keys-help")
    assert keys.is_displayed() and focused(browser) == "close-help"
    typed(browser, "1", Keys.ESCAPE)
    assert not keys.is_displayed() and browser.text("answer") == first
    assert browser.driver.switch_to.active_element.tag_name == "summary"
    verdict = browser.driver.find_element("id", "verdict")
    assert not verdict.is_displayed()
    ActionChains(browser.driver).send_keys("j").perform()
    assert verdict.is_displayed() and "Accept" in verdict.text


def test_the_dashboard_shows_the_run(browser: Browser, address: str) -> None:
    shown(browser, f"{address}/dashboard")
    assert browser.text("current-version") == "c2-dpo" and browser.text("tile-rate") == "1.50"
    marks = browser.driver.find_elements("css selector", "#figure-ss .mark")
    names = [mark.get_attribute("aria-label") for mark in marks]
    assert any(name.startswith("Cycle 1, KTO (own judge), chosen: 1.000, 95 %") for name in names if name)
    assert len(browser.driver.find_elements("css selector", "#decisions tbody tr")) == 2
    now = browser.driver.find_element("css selector", "#figure-curves .mark")
    assert now.get_attribute("aria-label") == "KTO, step 40: loss 0.025"
    Select(browser.driver.find_element("id", "curve-figure")).select_by_value("rewards/margins")
    browser.wait("return document.querySelector('#figure-curves .mark').ariaLabel.includes('margins 4')")
    # By keyboard: into the figure, to its next mark, which is then told in words.
    browser.driver.execute_script("document.querySelector('#figure-ss .mark[tabindex=\"0\"]').focus()")
    ActionChains(browser.driver).send_keys(Keys.ARROW_RIGHT).perform()
    told = browser.driver.find_element("css selector", "#figure-ss .tip")
    assert told.is_displayed() and "n 24" in told.text
    checked = browser.driver.find_elements("css selector", "#figure-checked .mark")
    told_of = [mark.get_attribute("aria-label") or "" for mark in checked]
    assert told_of[0].startswith("Calibration, by team.csv: 0.")
    assert told_of[1].startswith("Cycle 1, by judge outside, calibrated: 0.900, 95 %")
    cells = browser.driver.find_elements("css selector", "#control tbody tr > *")
    assert [cell.text for cell in cells][:5] == ["1", "judge outside, calibrated", "22", "21", "2"]
    assert "none, on CPUs" in browser.text("cost")
    assert browser.driver.execute_script("return window.pwned === undefined")
    assert_clean(browser, address)


def test_answers_of_two_policies_are_side_by_side_and_filtered(browser: Browser, address: str) -> None:
    shown(browser, f"{address}/answers")
    browser.wait("return document.querySelectorAll('#rows > li').length === 20")
    Select(browser.driver.find_element("id", "right")).select_by_value("c1-kto")
    browser.wait("return document.querySelectorAll('#rows h2')[1]?.textContent === 'c1-kto'")
    Select(browser.driver.find_element("id", "disagreement")).select_by_value("labels")
    browser.wait("return document.getElementById('found').textContent === '12 prompts'")
    sides = browser.driver.find_elements("css selector", "#rows > li:first-child .answer")
    assert [each.text for each in sides] == ["c0-base: Sure.", "c1-kto: I cannot help with that."]
    # All that is known of a prompt is a click away.
    browser.driver.find_element("css selector", "#rows > li:first-child summary").click()
    browser.wait("return document.querySelectorAll('#rows > li:first-child caption').length > 0")
    titles = browser.driver.find_elements("css selector", "#rows > li:first-child caption")
    assert [each.text for each in titles] == ["Answers and labels"]
    cells = browser.driver.find_elements("css selector", "#rows > li:first-child tbody tr:first-child td")
    assert (cells[0].text.split(",")[0], cells[1].text, cells[5].text) == ("c0-base", "Accept", "c0-base: Sure.")
    browser.driver.find_element("css selector", "#rows > li:first-child details button").click()
    browser.wait("return document.querySelectorAll('#rows > li:first-child caption').length === 2")
    nearest = browser.driver.find_elements("css selector", "#rows > li:first-child details .scroll")[-1].text
    assert nearest.startswith("Nearest prompts of training rows") and "chosen: No." in nearest
    assert_clean(browser, address)


@pytest.mark.parametrize("prefix", ["", "/salus/ward"])
def test_pages_work_when_their_address_holds_the_key(
    browser: Browser, run: RunFolder, labels: Path, prefix: str
) -> None:
    data = PagesData(run.root, labels, meter=Meter())
    pages = FastAPI()
    pages.include_router(review_router(data))
    pages.include_router(dashboard_router(data))
    behind = Served(app=pages)
    app = FastAPI()
    app.mount(prefix, behind.gateway)
    with served(app) as address:
        low, told = (address.replace("//", f"//me:{behind.tokens[role]}@") + prefix for role in ("client", "reviewer"))
        # A key with too low a role is told so; the link there leads to the page itself, with another key.
        browser.driver.get(f"{low}/review")
        assert "has the role client; this address needs the role reviewer." in browser.driver.page_source
        link = browser.driver.find_element("link text", "Sign in with another key").get_attribute("href") or ""
        assert link.endswith(f"{prefix}/review?sign-in")
        shown(browser, f"{told}/review?sign-in")
        browser.wait("return !document.getElementById('item').hidden")
        shown(browser, f"{told}/dashboard")
        browser.wait("return document.getElementById('current-version').textContent === 'c2-dpo'")
        assert not browser.driver.find_element("id", "fault").is_displayed()
        shown(browser, f"{told}/review")
        first = browser.text("answer")
        press(browser, "3")
        assert browser.text("answer") != first and not browser.driver.find_element("id", "fault").is_displayed()
        assert [(gold.answer, gold.label) for gold in settle(read_labels(labels)).gold] == [(first, "Refuse")]
        # A link of the page leads on with the same key.
        browser.driver.find_element("link text", "Dashboard").click()
        browser.wait("return document.getElementById('current-version').textContent === 'c2-dpo'")
    assert [error for error in browser.errors() if "favicon" not in error and "403 (Forbidden)" not in error] == []


@pytest.mark.parametrize("page", PAGES)
def test_nothing_is_wider_than_the_window(browser: Browser, address: str, page: str, tmp_path: Path) -> None:
    for width in WIDTHS:
        for dark in (False, True):
            browser.window(width, dark=dark)
            shown(browser, f"{address}/{page}")
            assert browser.overflow() <= 0
            browser.shot(tmp_path / f"{page}-{width}-{'dark' if dark else 'light'}.png")
        opened(browser)
        assert browser.overflow() <= 0
        if page == "review":
            # The longest word there is.
            for _ in range(7):
                press(browser, "s")
                assert browser.overflow() <= 0
    assert_clean(browser, address)


@pytest.mark.skipif(AXE is None, reason="axe-core is not here: SALUS_AXE may name its axe.min.js")
def test_axe_finds_no_fault(browser: Browser, address: str) -> None:
    assert AXE is not None
    for width, dark in ((1600, False), (400, True)):
        browser.window(width, dark=dark)
        for page in PAGES:
            shown(browser, f"{address}/{page}")
            opened(browser)
            assert browser.faults(AXE) == [], page
            if page == "review":
                typed(browser, "?")
                assert browser.faults(AXE) == []


def opened(browser: Browser) -> None:
    """Whatever can be unfolded is, and what is fetched for it is there."""
    for details in browser.driver.find_elements("css selector", "details"):
        browser.driver.execute_script("arguments[0].open = true", details)
    browser.wait(
        "return [...document.querySelectorAll('#rows details')].every((of) => of.querySelector('table, .notice'))"
    )
    for button in browser.driver.find_elements("css selector", "#rows details button"):
        browser.driver.execute_script("arguments[0].click()", button)
    browser.wait("return document.querySelectorAll('#rows details button').length === 0")


def assert_clean(browser: Browser, address: str) -> None:
    """No error in the console, and nobody else was asked."""
    assert browser.errors() == []
    assert browser.hosts() == {address.removeprefix("http://")}
