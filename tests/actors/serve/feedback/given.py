"""Feedback for tests: records with few words, a sink that keeps them in memory, redaction without a process."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from actors.contract.conversation import Turn, conversation_json
from actors.errors import SalusError
from actors.serve.feedback.journal import Journal
from actors.serve.feedback.records import CAPTURES, FEEDBACK, CapturedAnswer, Feedback, Origin, Verdict, feedback_id
from actors.serve.feedback.redaction import Redactor, RuleRedactor
from actors.serve.feedback.sink import KnownAnswer

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def captured(
    answer_id: str,
    prompt: str = "How do I store insulin?",
    answer: str = "In the fridge.",
    *,
    caller: str = "ward",
    policy: str = "c1-dpo",
    before: Sequence[Turn] = (),
    origin: Origin = "captured",
    at: datetime = NOON,
    finish_reason: str = "stop",
) -> CapturedAnswer:
    return CapturedAnswer(
        answer_id=answer_id,
        policy=policy,
        caller=caller,
        prompt=prompt,
        conversation=conversation_json([*before, Turn(role="user", content=prompt)]),
        answer=answer,
        finish_reason=finish_reason,
        at=at,
        origin=origin,
    )


def said(
    answer_id: str,
    verdict: Verdict,
    correction: str | None = None,
    *,
    caller: str = "ward",
    policy: str = "c1-dpo",
    minutes: float = 1.0,
) -> Feedback:
    return Feedback(
        feedback_id=feedback_id(answer_id, caller),
        answer_id=answer_id,
        policy=policy,
        caller=caller,
        verdict=verdict,
        correction=correction,
        at=NOON + timedelta(minutes=minutes),
    )


def write_folder(folder: Path, answers: Sequence[CapturedAnswer], feedback: Sequence[Feedback]) -> Path:
    """A folder as an endpoint leaves it."""
    with closing(Journal(folder / CAPTURES.name, CAPTURES)) as journal:
        journal.append(answers)
    with closing(Journal(folder / FEEDBACK.name, FEEDBACK)) as journal:
        journal.append(feedback)
    return folder


class MemorySink:
    """Keeps everything in lists; raises `fault` instead where it has one."""

    def __init__(self, fault: Exception | None = None) -> None:
        self.answers: list[CapturedAnswer] = []
        self.items: list[Feedback] = []
        self.fault = fault

    async def captured(self, answer: CapturedAnswer) -> None:
        if self.fault is not None:
            raise self.fault
        self.answers.append(answer)

    async def feedback(self, item: Feedback) -> None:
        if self.fault is not None:
            raise self.fault
        self.items.append(item)

    async def known(self, answer_id: str) -> KnownAnswer | None:
        for answer in reversed(self.answers):
            if answer.answer_id == answer_id:
                return KnownAnswer(caller=answer.caller, policy=answer.policy)
        return None


class DirectRedaction:
    """`Redaction` in the process of the test; raises `fault` where it has one."""

    def __init__(self, redactor: Redactor | None = None, fault: Exception | None = None) -> None:
        self._redactor = redactor or RuleRedactor()
        self.fault = fault

    async def redact(self, texts: Sequence[str]) -> tuple[str, ...]:
        if self.fault is not None:
            raise self.fault
        return tuple(map(self._redactor.redact, texts))


# Messages with a name in them.
ASKED = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": [{"type": "text", "text": "My name is Anna,"}, {"type": "text", "text": "insulin?"}]},
]
FULL = SalusError("The disk is full.")
