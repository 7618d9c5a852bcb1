"""The middleware that ends a replica with its engine, without Ray or vLLM."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest
from starlette.types import Message, Receive, Scope, Send

from actors.serve.replica.engine_death import EngineDeathWatch


class Ended(BaseException):
    """What the end of a process is in a test: nothing catches it."""


class Replica:
    """An app of three messages behind the watch; its engine dies after some of them."""

    def __init__(self, dies_after: int | None) -> None:
        self._dies_after = dies_after
        self._said = 0
        self.sent: list[Message] = []
        self.watch = EngineDeathWatch(self._app, self._dead, self._end)

    def ask(self, kind: str = "http") -> None:
        asyncio.run(self.watch({"type": kind}, self._receive, self._send))

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        for body in (b"one", b"two", b"three"):
            await send({"type": "http.response.body", "body": body, "more_body": body != b"three"})

    def _dead(self) -> bool:
        return self._dies_after is not None and self._said >= self._dies_after

    def _end(self) -> None:
        raise Ended

    async def _receive(self) -> Message:
        raise AssertionError("nobody reads")

    async def _send(self, message: Message) -> None:
        self._said += 1
        self.sent.append(message)


def test_a_living_engines_answer_passes_as_it_is() -> None:
    replica = Replica(dies_after=None)
    replica.ask()
    assert [message["body"] for message in replica.sent] == [b"one", b"two", b"three"]


@pytest.mark.parametrize("parts", [0, 1, 2])
def test_nothing_goes_out_after_the_engines_death(parts: int) -> None:
    replica = Replica(dies_after=parts)
    with pytest.raises(Ended):
        replica.ask()
    assert len(replica.sent) == parts


def test_the_start_and_end_of_the_app_are_none_of_its_business() -> None:
    replica = Replica(dies_after=0)
    replica.ask("lifespan")
    assert len(replica.sent) == 3


def test_the_process_ends_at_once_and_says_why() -> None:
    code = """
import atexit, logging
from actors.serve.replica.engine_death import end_replica
logging.basicConfig()
atexit.register(print, "not reached")
try:
    end_replica()
finally:
    print("nor this")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    assert "The engine of this replica has died" in done.stderr
