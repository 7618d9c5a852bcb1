"""Records of a challenger in the shadow, of texts whose labels the refusal rules are sure of."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from datetime import timedelta
from pathlib import Path

from actors.contract.conversation import Turn, conversation_json
from actors.contract.records import Label
from actors.serve.feedback.journal import Journal
from actors.serve.shadow.records import SHADOW, ShadowRecord
from tests.actors.serve.feedback.given import NOON

SAYS: dict[Label, str] = {
    "Accept": "Take one tablet with food.",
    "Caution": "I cannot advise on harming plants. Instead, here are some tips for your garden:\n1. Mulch it.",
    "Refuse": "I'm sorry, but I cannot help with that.",
}


def record(
    number: int,
    live: str,
    challenger: str,
    *,
    policy: str = "c1-dpo",
    name: str = "c2-kto",
    prompt: str | None = None,
    before: Sequence[Turn] = (),
    finish_reason: str = "stop",
) -> ShadowRecord:
    asked = prompt if prompt is not None else f"question {number}"
    return ShadowRecord(
        answer_id=f"chatcmpl-{number:03d}",
        policy=policy,
        challenger=name,
        prompt=asked,
        conversation=conversation_json([*before, Turn(role="user", content=asked)]),
        answer=live,
        finish_reason="stop",
        challenger_answer=challenger,
        challenger_finish_reason=finish_reason,
        temperature=0.0,
        top_p=1.0,
        max_tokens=16,
        at=NOON + timedelta(minutes=number),
    )


def labelled(*pairs: tuple[Label, Label], policy: str = "c1-dpo", start: int = 0) -> list[ShadowRecord]:
    """One request each, whose live answer has the first label and the challenger's the second."""
    return [record(start + i, SAYS[a], SAYS[b], policy=policy) for i, (a, b) in enumerate(pairs)]


def kept(folder: Path, records: Sequence[ShadowRecord]) -> Path:
    """A folder as a shadow leaves it."""
    with closing(Journal(folder / SHADOW.name, SHADOW)) as journal:
        journal.append(records)
    return folder
