"""Redaction in its own process: the same texts, a time limit that holds, and an event loop that never waits."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pytest

from actors.errors import SalusError
from actors.serve.feedback.config import FeedbackConfig
from actors.serve.feedback.redaction import NotRedacted, Redaction, RuleRedactor
from actors.serve.feedback.redaction_process import RedactionBusy, RedactionProcess
from tests.actors.serve.feedback import hooks
from tests.actors.serve.feedback.given import DirectRedaction

Result = TypeVar("Result")
LIMIT_S = 1.0
TEXTS = ["My name is Anna.", "", "seen on 2024-03-05"]


@contextmanager
def process(hook: str | None = None, **more: Any) -> Iterator[RedactionProcess]:
    redactor = "rules" if hook is None else f"{hooks.__name__}:{hook}"
    made = RedactionProcess(FeedbackConfig(redactor=redactor, redaction_timeout_s=LIMIT_S, **more))
    try:
        yield made
    finally:
        made.close()
        assert workers() == []


def workers() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if "redaction_worker" in " ".join(child.cmdline())]


def redact(redaction: Redaction, *texts: str) -> tuple[str, ...]:
    return asyncio.run(redaction.redact(texts))


async def watched(work: Coroutine[Any, Any, Result]) -> tuple[Result | BaseException, float]:
    """What came of the work, and the longest time in seconds that the event loop was held up meanwhile."""
    task = asyncio.create_task(work)
    longest, last = 0.0, time.perf_counter()
    while not task.done():
        await asyncio.sleep(0.01)
        longest, last = max(longest, time.perf_counter() - last), time.perf_counter()
    [result] = await asyncio.gather(task, return_exceptions=True)
    return result, longest


def test_texts_come_back_redacted_in_their_order_as_without_a_process() -> None:
    with process() as redaction:
        for each in (DirectRedaction(), redaction):
            assert redact(each, *TEXTS) == tuple(map(RuleRedactor().redact, TEXTS))
            assert redact(each) == ()


def test_a_teams_own_function_is_found_and_what_it_prints_disturbs_nothing() -> None:
    with process("starred") as redaction:
        redaction.start()
        assert [redact(redaction, "Anna", text) for text in "ab"] == [("*", "a"), ("*", "b")]


def test_a_redactor_that_hangs_is_ended_and_the_next_text_gets_another() -> None:
    async def use(redaction: RedactionProcess) -> None:
        assert await redaction.redact(["warm"]) == ("warm",)
        begun = time.perf_counter()
        result, longest = await watched(redaction.redact(["hang, Anna"]))
        assert isinstance(result, NotRedacted) and result.sentence.endswith("within 1 s, and is not kept.")
        assert time.perf_counter() - begun < LIMIT_S + 4 and longest < 0.5
        assert await redaction.redact(["next"]) == ("next",)

    with process("hangs") as redaction:
        asyncio.run(use(redaction))


@pytest.mark.parametrize("hook", ["dies", "deaf"])
def test_a_text_whose_process_dies_or_hears_no_alarm_is_not_kept(hook: str) -> None:
    with process(hook) as redaction, pytest.raises(NotRedacted):
        redact(redaction, "x")


def test_who_waits_too_long_behind_others_is_told_so() -> None:
    async def use(redaction: RedactionProcess) -> tuple[object, object]:
        return await asyncio.gather(redaction.redact(["hang"]), redaction.redact(["x"]), return_exceptions=True)

    with process("hangs", timeout_s=0.2) as redaction:
        first, second = asyncio.run(use(redaction))
    assert isinstance(first, NotRedacted) and isinstance(second, RedactionBusy)


def test_a_redactors_error_comes_without_the_text_it_quotes() -> None:
    with (
        process("quotes") as redaction,
        pytest.raises(SalusError, match=r"hooks:quotes failed \(ValueError\)") as caught,
    ):
        redact(redaction, "patient 12345678")
    assert "12345678" not in str(caught.value)


def test_a_redactor_that_cannot_be_loaded_is_refused_before_anything_is_served() -> None:
    async def beside_a_loop(redaction: RedactionProcess) -> None:
        redaction.start()

    with process("no_such") as redaction:
        for _ in range(2):
            with pytest.raises(SalusError, match="hooks:no_such is not found"):
                asyncio.run(beside_a_loop(redaction))


def test_a_process_that_cannot_be_started_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with process() as redaction, pytest.raises(SalusError, match="cannot be started"):
        redact(redaction, "x")


def test_its_process_does_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    told = tmp_path / "pid"
    parent = subprocess.Popen(
        [
            sys.executable, "-c",
            "import asyncio; from actors.serve.feedback.config import FeedbackConfig as C;"
            " from actors.serve.feedback.redaction_process import RedactionProcess as P;"
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
