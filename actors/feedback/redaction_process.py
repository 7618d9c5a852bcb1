"""Redaction in a process of its own, with a time limit: no text and no redactor can hold up the process that serves.

A thread would not do: Python's `re` keeps the interpreter's lock until a match ends. The process ends by its own alarm
clock when the limit has passed, whatever it is doing and even if its parent is gone; the next text gets a new one. It
imports the redactor alone, so a Presidio model takes its memory once a replica. What a redactor prints is thrown away.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import lru_cache

from anyio import BrokenWorkerProcess, to_process

from actors.errors import SalusError
from actors.feedback.config import RULES, FeedbackConfig
from actors.feedback.redaction import NotRedacted, Redactor
from actors.feedback.redactors import load_redactor

# Longest time in which a redactor may be loaded, in seconds: Presidio's model takes 5 to 20.
_LOADING_S = 120.0
# Where both share cores, answers come first.
_NICE = 10


class RedactionBusy(SalusError):
    """Too many texts wait to be redacted."""


class RedactionProcess:
    """A `Redaction` by the configured redactor, one exchange at a time, for any number of callers of one event loop."""

    def __init__(self, config: FeedbackConfig) -> None:
        self._config = config
        self._free = asyncio.Semaphore(1)

    def check(self) -> None:
        """Load the redactor once, in a process that ends again; may be called beside a running event loop.

        Raises:
            SalusError: it cannot be loaded here.
        """
        # The rules are always there.
        if self._config.redactor != RULES:
            with ThreadPoolExecutor(1) as thread:
                thread.submit(asyncio.run, RedactionProcess(self._config).redact([""])).result()

    async def redact(self, texts: Sequence[str]) -> tuple[str, ...]:
        """The texts as they may be kept.

        Raises:
            NotRedacted: they took longer than `redaction_timeout_s`, or their process died.
            RedactionBusy: others before them took longer than `timeout_s`.
            SalusError: the redactor cannot be loaded, or failed.
        """
        limit = self._config.redaction_timeout_s
        async with self._turn():
            try:
                # The alarm of the process is sooner; a redactor may have switched that off.
                async with asyncio.timeout(_LOADING_S + limit):
                    return await to_process.run_sync(_redacted, self._config, tuple(texts), cancellable=True)
            except (BrokenWorkerProcess, TimeoutError):
                # Neither error is of use to anybody, and a chain of them would be logged with what it quotes.
                raise NotRedacted(f"A text was not redacted within {limit:g} s, and is not kept.") from None

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


def _redacted(config: FeedbackConfig, texts: tuple[str, ...]) -> tuple[str, ...]:
    """Runs in the process; ends it where the time is over."""
    _end_in(_LOADING_S)
    try:
        redactor = _loaded(config)
        _end_in(config.redaction_timeout_s)
        return tuple(redactor.redact(text) for text in texts)
    except SalusError:
        raise
    except Exception as error:
        # Its text may hold what was to be redacted.
        raise SalusError(f"feedback.redactor {config.redactor} failed ({type(error).__name__}).") from None
    finally:
        _end_in(0.0)


@lru_cache(maxsize=1)
def _loaded(config: FeedbackConfig) -> Redactor:
    # A Ctrl-C for everybody in the terminal is for the parent, which ends this process by its pipe.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(_NICE)
    return load_redactor(config)


def _end_in(seconds: float) -> None:
    """Let the kernel end this process then, unless another call comes first; 0: never."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
    signal.setitimer(signal.ITIMER_REAL, seconds)
