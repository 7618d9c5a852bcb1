"""What a challenger is handed of a live answer, and what is kept of both: frozen records and the journal's schema."""

from __future__ import annotations

from typing import Any, Literal

import pyarrow as pa
from pydantic import AwareDatetime, Field

from actors.contract.conversation import Turn
from actors.contract.records import Record
from actors.serve.feedback.records import JournalKind

# What became of a live answer that was handed over. "unfit": the challenger cannot be asked that; "not_redacted": one
# of its texts is too long or took too long to redact, so none is kept.
Taken = Literal["stored", "dropped", "unfit", "not_redacted"]


class LiveAnswer(Record):
    """One live answer and what it answers, not redacted: it goes to the challenger's engine, and nowhere else."""

    answer_id: str = Field(min_length=1)
    # The version of the policy that gave it.
    policy: str
    turns: tuple[Turn, ...] = Field(min_length=1)
    answer: str
    finish_reason: str
    at: AwareDatetime
    # As the request said; None: the model's own default.
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    # The endpoint's own limit on an answer's tokens; None: the model's.
    limit: int | None = None


class ShadowRecord(Record):
    """One request with the live answer and the challenger's, redacted."""

    answer_id: str = Field(min_length=1)
    policy: str
    challenger: str
    # The last user turn.
    prompt: str
    # All turns up to the answer, as a JSON list of role and content.
    conversation: str
    answer: str
    finish_reason: str
    challenger_answer: str
    challenger_finish_reason: str
    # How the challenger's answer was drawn.
    temperature: float
    top_p: float
    max_tokens: int
    # When the live answer was given.
    at: AwareDatetime


class ShadowCounts(Record):
    """What a shadow has done since it was (re)started."""

    stored: int = 0
    dropped: int = 0
    unfit: int = 0
    not_redacted: int = 0
    fault: int = 0
    waiting: int = 0


_TEXTS = (
    "answer_id",
    "policy",
    "challenger",
    "prompt",
    "conversation",
    "answer",
    "finish_reason",
    "challenger_answer",
    "challenger_finish_reason",
)
_FIELDS: list[pa.Field[Any]] = [
    *(pa.field(name, pa.string(), nullable=False) for name in _TEXTS),
    pa.field("temperature", pa.float32(), nullable=False),
    pa.field("top_p", pa.float32(), nullable=False),
    pa.field("max_tokens", pa.int32(), nullable=False),
    pa.field("at", pa.timestamp("us", tz="UTC"), nullable=False),
]
SHADOW_SCHEMA = pa.schema(_FIELDS)
SHADOW = JournalKind("answers", SHADOW_SCHEMA, "answer_id")
