"""Redaction in its own process: the same texts, a time limit that holds, and an event loop that never waits."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pytest

from actors.errors import SalusError
from actors.feedback import redaction_process
from actors.feedback.config import FeedbackConfig
from actors.feedback.redaction import NotRedacted, Redaction, RuleRedactor
from actors.feedback.redaction_process import RedactionBusy, RedactionProcess
from tests.actors.feedback import hooks
from tests.actors.feedback.given import DirectRedaction

Result = TypeVar("Result")
LIMIT_S = 1.0
TEXTS = ["My name is Anna.", "", "seen on 2024-03-05"]


def process(hook: str | None = None, **more: Any) -> RedactionProcess:
    redactor = "rules" if hook is None else f"{hooks.__name__}:{hook}"
    return RedactionProcess(FeedbackConfig(redactor=redactor, redaction_timeout_s=LIMIT_S, **more))


async def watched(work: Coroutine[Any, Any, Result]) -> tuple[Result | BaseException, float]:
    """What came of the work, and the longest time in seconds that the event loop was held up meanwhile."""
    task = asyncio.create_task(work)
    longest, last = 0.0, time.perf_counter()
    while not task.done():
        await asyncio.sleep(0.01)
        longest, last = max(longest, time.perf_counter() - last), time.perf_counter()
    [result] = await asyncio.gather(task, return_exceptions=True)
    return result, longest


@pytest.mark.parametrize("redaction", [DirectRedaction(), process()], ids=["direct", "process"])
def test_texts_come_back_redacted_in_their_order(redaction: Redaction) -> None:
    assert asyncio.run(redaction.redact(TEXTS)) == tuple(map(RuleRedactor().redact, TEXTS))


def test_a_teams_own_function_is_found_there_and_leaves_no_process() -> None:
    assert asyncio.run(process("starred").redact(["Anna"])) == ("*",)
    assert not [child for child in psutil.Process().children() if "anyio" in " ".join(child.cmdline())]


def test_a_redactor_that_hangs_is_ended_and_the_next_text_gets_another() -> None:
    async def use() -> None:
        redaction = process("hangs")
        assert await redaction.redact(["warm"]) == ("warm",)
        begun = time.perf_counter()
        result, longest = await watched(redaction.redact(["hang, Anna"]))
        assert isinstance(result, NotRedacted) and result.sentence.endswith("within 1 s, and is not kept.")
        assert time.perf_counter() - begun < LIMIT_S + 4 and longest < 0.5
        assert await redaction.redact(["next"]) == ("next",)

    asyncio.run(use())


def test_a_redactor_that_hears_no_alarm_is_ended_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction_process, "_LOADING_S", 5.0)
    with pytest.raises(NotRedacted):
        asyncio.run(process("deaf").redact(["x"]))


@pytest.mark.parametrize("hook", ["dies", "hangs"])
def test_a_text_that_ends_the_process_is_not_kept(hook: str) -> None:
    with pytest.raises(NotRedacted):
        asyncio.run(process(hook).redact(["hang"]))


def test_who_waits_too_long_behind_others_is_told_so() -> None:
    async def use() -> tuple[object, object]:
        redaction = process("hangs", timeout_s=0.2)
        return await asyncio.gather(redaction.redact(["hang"]), redaction.redact(["x"]), return_exceptions=True)

    first, second = asyncio.run(use())
    assert isinstance(first, NotRedacted) and isinstance(second, RedactionBusy)


def test_a_redactors_error_comes_without_the_text_it_quotes() -> None:
    with pytest.raises(SalusError, match=r"hooks:quotes failed \(ValueError\)") as caught:
        asyncio.run(process("quotes").redact(["patient 12345678"]))
    assert "12345678" not in str(caught.value) and caught.value.__context__ is None


@pytest.mark.parametrize(("hook", "sentence"), [("no_such", "is not found"), ("quotes", "failed")])
def test_a_redactor_that_cannot_be_used_is_refused_before_anything_is_served(hook: str, sentence: str) -> None:
    async def beside_a_loop() -> None:
        process(hook).check()

    with pytest.raises(SalusError, match=sentence):
        asyncio.run(beside_a_loop())
    process("starred").check()


def test_its_process_does_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    told = tmp_path / "pid"
    parent = subprocess.Popen(
        [
            sys.executable, "-c",
            "import asyncio; from actors.feedback.config import FeedbackConfig as C;"
            " from actors.feedback.redaction_process import RedactionProcess as P;"
            f" asyncio.run(P(C(redactor={hooks.__name__ + ':tells_and_hangs'!r}, redaction_timeout_s=3))"
            f".redact([{str(told)!r}]))",
        ]
    )  # fmt: skip
    try:
        until(lambda: told.is_file() and told.read_text() != "")
        worker = psutil.Process(int(told.read_text()))
    finally:
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
    until(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE)


def until(true: Any) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)
