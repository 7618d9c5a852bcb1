"""The port to wherever captured answers and feedback are kept, and who is asking."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from actors.feedback.records import ANONYMOUS, CapturedAnswer, Feedback
from actors.records import Record

# Where the gateway puts the caller it found: an object with a name and a role.
CALLER_KEY = "salus_caller"


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


def caller_name(scope: Mapping[str, Any]) -> str:
    """The name of whoever sent an ASGI request; anonymous where the endpoint asks nobody for a key."""
    caller = (scope.get("state") or {}).get(CALLER_KEY)
    return str(caller.name) if caller is not None else ANONYMOUS
