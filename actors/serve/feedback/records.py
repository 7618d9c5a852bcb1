"""What is kept of the endpoint's answers and of what people said about them: frozen records and Arrow schemas."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import pyarrow as pa
from pydantic import AwareDatetime, Field, model_validator

from actors.contract.records import Record

Verdict = Literal["up", "down", "corrected"]
VERDICTS: tuple[Verdict, ...] = ("up", "down", "corrected")
# "supplied": the caller sent prompt and answer along with the feedback; only the caller says that they were so.
Origin = Literal["captured", "supplied"]
# Where it is not known who gave an answer, or who asked.
UNKNOWN_POLICY = "unknown"
Clock = Callable[[], datetime]


def utc_now() -> datetime:
    return datetime.now(UTC)


class CapturedAnswer(Record):
    """One answer of the endpoint, redacted, with what it answers."""

    # As the endpoint gives it: chatcmpl-...
    answer_id: str = Field(min_length=1)
    # The version of the policy that gave it.
    policy: str
    caller: str
    # The last user turn.
    prompt: str
    # All turns up to the answer, as a JSON list of role and content.
    conversation: str
    answer: str
    finish_reason: str
    at: AwareDatetime
    origin: Origin = "captured"


class Feedback(Record):
    """What one caller says of one answer, redacted; a later one of the same caller takes its place."""

    feedback_id: str
    answer_id: str
    policy: str
    caller: str
    verdict: Verdict
    # The answer as it should have been.
    correction: str | None = None
    comment: str | None = None
    at: AwareDatetime

    @model_validator(mode="after")
    def _corrects(self) -> Feedback:
        if (self.verdict == "corrected") != (self.correction is not None):
            raise ValueError("verdict 'corrected' goes with a correction, and no other verdict does")
        return self


def _texts(*names: str, nullable: bool = False) -> list[pa.Field[Any]]:
    return [pa.field(name, pa.string(), nullable=nullable) for name in names]


_AT: pa.Field[Any] = pa.field("at", pa.timestamp("us", tz="UTC"), nullable=False)
CAPTURED_SCHEMA = pa.schema(
    [
        *_texts("answer_id", "policy", "caller", "prompt", "conversation", "answer", "finish_reason"),
        _AT,
        *_texts("origin"),
    ]
)
FEEDBACK_SCHEMA = pa.schema(
    [
        *_texts("feedback_id", "answer_id", "policy", "caller", "verdict"),
        *_texts("correction", "comment", nullable=True),
        _AT,
    ]
)


@dataclass(frozen=True)
class JournalKind:
    """What a journal holds: rows of a schema, of which the last one counts for each value of `key`."""

    name: str
    schema: pa.Schema
    key: str


# Two journals, each in a folder of its name.
CAPTURES = JournalKind("captures", CAPTURED_SCHEMA, "answer_id")
FEEDBACK = JournalKind("feedback", FEEDBACK_SCHEMA, "feedback_id")


def feedback_id(answer_id: str, caller: str) -> str:
    """The same for everything that one caller says of one answer."""
    digest = hashlib.blake2b("\x1f".join((answer_id, caller)).encode(), digest_size=12)
    return f"fb-{digest.hexdigest()}"
