"""The port to wherever captured answers and feedback are kept."""

from __future__ import annotations

from typing import Protocol

from actors.contract.records import Record
from actors.errors import SalusError
from actors.serve.feedback.records import CapturedAnswer, Feedback


class KnownAnswer(Record):
    """Whose answer it is, and which policy gave it."""

    caller: str
    policy: str


class OverQuota(SalusError):
    """A caller has had as much kept today as it may."""


class AnotherCallers(SalusError):
    """An answer's id is known under another caller."""


class FeedbackSink(Protocol):
    """Keeps what it is handed. Each call returns when that is durable, and raises SalusError where it is not."""

    async def captured(self, answer: CapturedAnswer) -> None:
        """Keep an answer. The first one of an id stays: its caller's further ones change nothing.

        Raises:
            AnotherCallers: the id is another caller's.
            OverQuota: its caller has had enough kept today.
        """

    async def feedback(self, item: Feedback) -> None:
        """Keep an item of feedback; raises `OverQuota`."""

    async def known(self, answer_id: str) -> KnownAnswer | None:
        """What is known of an answer; None where it was not captured."""
