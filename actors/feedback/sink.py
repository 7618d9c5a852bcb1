"""The port to wherever captured answers and feedback are kept."""

from __future__ import annotations

from typing import Protocol

from actors.feedback.records import CapturedAnswer, Feedback
from actors.records import Record


class KnownAnswer(Record):
    """Whose answer it is, and which policy gave it."""

    caller: str
    policy: str


class FeedbackSink(Protocol):
    """Keeps what it is handed. Each call returns when that is durable, and raises SalusError where it is not."""

    async def captured(self, answer: CapturedAnswer) -> None: ...

    async def feedback(self, item: Feedback) -> None: ...

    async def known(self, answer_id: str) -> KnownAnswer | None:
        """What is known of an answer; None where it was not captured."""
