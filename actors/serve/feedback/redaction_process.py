"""Redaction in a process of its own, with a time limit: no text and no redactor can hold up the process that serves.

A thread would not do: Python's `re` keeps the interpreter's lock until a match ends. A process that is over its time
ends, and another is begun for the next text. It imports the redactor alone, and no model or engine.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import Any

from actors.contract.conversation import Turn
from actors.errors import SalusError
from actors.serve.feedback.config import FeedbackConfig
from actors.serve.feedback.redaction import NotRedacted, Redaction

_WORKER = "actors.serve.feedback.redaction_worker"
# What the process is told of the settings.
_TOLD = {"redactor", "language", "redaction_timeout_s"}
# Longest time in which a redactor may be loaded, in seconds: Presidio's model takes 5 to 20.
_LOADING_S = 120.0
# The process ends itself in time; one whose redactor switched its alarm off is ended so much later, in seconds.
_GRACE_S = 2.0


class RedactionBusy(SalusError):
    """Too many texts wait to be redacted."""


async def redacted_exchange(
    redaction: Redaction, turns: Sequence[Turn], *answers: str
) -> tuple[tuple[Turn, ...], tuple[str, ...]]:
    """A conversation and the answers to it, each text redacted. Raises what `Redaction.redact` raises."""
    texts = await redaction.redact([*(turn.content for turn in turns), *answers])
    conversation = tuple(Turn(role=turn.role, content=text) for turn, text in zip(turns, texts, strict=False))
    return conversation, texts[len(turns) :]


class RedactionProcess:
    """A `Redaction` by the configured redactor, one exchange at a time. Life: start -> redact* -> close.

    One that was not started is started by its first text.
    """

    def __init__(self, config: FeedbackConfig) -> None:
        self._config = config
        self._free = asyncio.Semaphore(1)
        # Waits for the process, and holds up no other thread; what is below is used by it alone.
        self._thread = ThreadPoolExecutor(1, "redaction")
        self._worker: _Worker | None = None

    def start(self) -> None:
        """Begin the process; returns when its redactor is loaded.

        Raises:
            SalusError: it cannot be loaded here.
        """
        self._thread.submit(self._loaded).result()

    def close(self) -> None:
        self._thread.submit(self._end).result()
        self._thread.shutdown()

    async def redact(self, texts: Sequence[str]) -> tuple[str, ...]:
        """The texts as they may be kept.

        Raises:
            NotRedacted: they took longer than `redaction_timeout_s`, or their process died.
            RedactionBusy: others before them took longer than `timeout_s`.
            SalusError: the redactor cannot be loaded, or failed.
        """
        async with self._turn():
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._redacted, texts)

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._config.timeout_s):
                await self._free.acquire()
        except TimeoutError:
            raise RedactionBusy(
                f"A text waited for {self._config.timeout_s:g} s behind others to be redacted, and is not kept."
            ) from None
        try:
            yield
        finally:
            self._free.release()

    def _redacted(self, texts: Sequence[str]) -> tuple[str, ...]:
        reply = self._loaded().ask(texts)
        if reply is None:
            self._end()
            # Begun now, it is ready when the next text comes.
            self._worker = _Worker(self._config)
            raise NotRedacted(
                f"A text was not redacted within {self._config.redaction_timeout_s:g} s, and is not kept."
            )
        if "not_redacted" in reply:
            raise NotRedacted(reply["not_redacted"])
        if "fault" in reply:
            raise SalusError(reply["fault"])
        return tuple(reply["texts"])

    def _loaded(self) -> _Worker:
        if self._worker is None:
            self._worker = _Worker(self._config)
        try:
            self._worker.load()
        except SalusError:
            self._end()
            raise
        return self._worker

    def _end(self) -> None:
        if self._worker is not None:
            self._worker.end()
            self._worker = None


class _Worker:
    """One process of `actors.serve.feedback.redaction_worker`. Life: begun -> load -> ask* -> end.

    Raises:
        SalusError: it cannot be started.
    """

    def __init__(self, config: FeedbackConfig) -> None:
        self._config = config
        self._is_loaded = False
        # A team's own function is found wherever this process would find it.
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        command = [sys.executable, "-m", _WORKER, config.model_dump_json(include=_TOLD)]
        try:
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
        except OSError as error:
            raise SalusError(f"The process that redacts cannot be started ({error.strerror or error}).") from error
        self.end = weakref.finalize(self, _end, self._process)

    def load(self) -> None:
        """Wait until its redactor is loaded. Raises SalusError where that cannot be."""
        if self._is_loaded:
            return
        reply = self._reply(_LOADING_S)
        if reply is None:
            raise SalusError(f"feedback.redactor {self._config.redactor} was not loaded within {_LOADING_S:g} s.")
        if "fault" in reply:
            raise SalusError(reply["fault"])
        self._is_loaded = True

    def ask(self, texts: Sequence[str]) -> dict[str, Any] | None:
        """The reply to these texts; None where the process died over them."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(list(texts)).encode() + b"\n")
            self._process.stdin.flush()
        return self._reply(self._config.redaction_timeout_s)

    def _reply(self, limit_s: float) -> dict[str, Any] | None:
        assert self._process.stdout is not None
        late = threading.Timer(limit_s + _GRACE_S, self._process.kill)
        late.daemon = True
        late.start()
        try:
            line = self._process.stdout.readline()
        finally:
            late.cancel()
        # A line without its end was cut off by the alarm.
        reply: dict[str, Any] | None = json.loads(line) if line.endswith(b"\n") else None
        return reply


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    # Closes its pipes and waits for it.
    with suppress(BrokenPipeError):
        process.communicate()
