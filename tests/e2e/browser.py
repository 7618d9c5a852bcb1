"""Headless Chromium for the tests of the pages, and the pages on a port of their own."""

from __future__ import annotations

import base64
import json
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import uvicorn
from fastapi import FastAPI
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
    "--hide-scrollbars",
)  # fmt: skip


def has_chromium() -> bool:
    return shutil.which("chromium") is not None and shutil.which("chromedriver") is not None


@contextmanager
def served(app: FastAPI) -> Iterator[str]:
    """An application on a free port of loopback, in a thread; yields its address."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 30
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.02)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(timeout=30)


class Browser:
    """One Chromium. Life: `chromium(...)` -> any use -> end of the context."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver
        self._seen: list[dict[str, Any]] = []
        self._said: list[str] = []

    def window(self, width: int, height: int = 900, dark: bool = False) -> None:
        """A view of this many CSS pixels; the window itself cannot be as narrow as a telephone."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})

    def shot(self, path: Path) -> None:
        """The whole page, also what is below the window, as PNG."""
        taken = self.driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True})
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(taken["data"]))

    def overflow(self) -> int:
        """CSS pixels by which the page is wider than the window."""
        return int(
            self.driver.execute_script("const e = document.documentElement; return e.scrollWidth - e.clientWidth")
        )

    def faults(self, axe: Path) -> list[str]:
        """What axe-core, read from a file, finds in the page as it is now shown, but what it calls minor."""
        self.driver.execute_cdp_cmd("Runtime.evaluate", {"expression": axe.read_text(encoding="utf-8")})
        self.driver.set_script_timeout(120)
        found: list[dict[str, Any]] = self.driver.execute_async_script(
            "const done = arguments[0];"
            "axe.run(document, { resultTypes: ['violations'] }).then((all) => done(all.violations.map("
            "(v) => ({ impact: v.impact, id: v.id, at: v.nodes.map((n) => n.target.join(' ')) }))))"
        )
        return [f"{each['id']}: {each['at']}" for each in found if each["impact"] != "minor"]

    def text(self, element_id: str) -> str:
        return str(self.driver.execute_script("return document.getElementById(arguments[0]).textContent", element_id))

    def wait(self, script: str, *arguments: object, timeout_s: float = 20) -> None:
        """Until a script returns something true."""
        deadline = time.monotonic() + timeout_s
        while not self.driver.execute_script(script, *arguments):
            assert time.monotonic() < deadline, f"still not true after {timeout_s} s: {script}"
            time.sleep(0.05)

    def _log(self, kind: str) -> list[dict[str, str]]:
        entries: list[dict[str, str]] = self.driver.get_log(kind)
        return entries

    def errors(self) -> list[str]:
        """What went wrong in the console since the browser started."""
        self._said += [f"{entry['level']}: {entry['message']}" for entry in self._log("browser")]
        return self._said

    def hosts(self) -> set[str]:
        """Everybody the pages asked for something."""
        for entry in self._log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                self._seen.append(message["params"]["request"])
        addresses = [urlsplit(request["url"]) for request in self._seen]
        # The browser's own pages, as that of a new tab, are in it.
        own = ("data", "about", "chrome", "chrome-untrusted")
        return {address.netloc for address in addresses if address.scheme not in own}


@contextmanager
def chromium(profile: Path) -> Iterator[Browser]:
    """A browser with a new profile that keeps its console and its requests."""
    options = webdriver.ChromeOptions()
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.binary_location = shutil.which("chromium") or ""
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver") or ""))
    try:
        yield Browser(driver)
    finally:
        driver.quit()
