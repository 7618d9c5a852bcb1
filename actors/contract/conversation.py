"""A conversation that ends with its user's question: its turns, its form in tables, and how a judge reads it.

Tables hold the last user turn as `prompt`, and what comes before it as `context`: a JSON list of role and content.
A prompt without context is a conversation of one turn.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Literal

import pyarrow as pa
from pydantic import TypeAdapter

from actors.contract.records import Record
from actors.files.shards import strings

_KEY_HEX = 32
Role = Literal["system", "user", "assistant"]
USER: Role = "user"


class Turn(Record):
    """One message of a conversation."""

    role: str
    content: str


_TURNS = TypeAdapter(tuple[Turn, ...])


def conversation_json(turns: Sequence[Turn]) -> str:
    """Turns as tables hold them."""
    return json.dumps([turn.model_dump() for turn in turns], ensure_ascii=False)


def turns_of(conversation: str) -> tuple[Turn, ...]:
    """The turns of `conversation_json`. Raises pydantic's ValidationError for anything else."""
    return _TURNS.validate_json(conversation)


def context_of(turns: Sequence[Turn]) -> str | None:
    """What comes before the last turn, as a table's `context`; None where nothing does."""
    return conversation_json(turns[:-1]) if len(turns) > 1 else None


def whole_conversation(context: str | None, prompt: str) -> tuple[Turn, ...]:
    """All turns of a table's row, the user's question last."""
    before = turns_of(context) if context else ()
    return (*before, Turn(role=USER, content=prompt))


class Transcript(str):
    """A conversation as one text, which also knows its turns for judges that read those."""

    turns: tuple[Turn, ...]


def turns_read(request: str) -> tuple[Turn, ...]:
    """The turns of what a judge is asked about: those of a transcript, else one of the user."""
    return request.turns if isinstance(request, Transcript) else (Turn(role=USER, content=request),)


def transcripts(rows: pa.Table, system: str | None = None) -> list[Transcript]:
    """`transcript` of each row of a table with `prompt`, and `context` where it has that."""
    contexts = strings(rows, "context") if "context" in rows.column_names else [""] * rows.num_rows
    return [transcript(*row, system) for row in zip(contexts, strings(rows, "prompt"), strict=True)]


def transcript(context: str | None, prompt: str, system: str | None = None) -> Transcript:
    """A conversation as one text, for a judge: each turn under its role. A question alone is only itself.

    Args:
        system: the deployed policy's own system prompt, which a conversation's own one replaces.
    """
    turns = whole_conversation(context, prompt)
    if system and turns[0].role != "system":
        turns = (Turn(role="system", content=system), *turns)
    text = prompt if len(turns) == 1 else "\n\n".join(f"[{turn.role}]\n{turn.content}" for turn in turns)
    made = Transcript(text)
    made.turns = turns
    return made


def answer_key(prompt: str, answer: str) -> str:
    """128 bits of sha256 over a transcript and its answer, as hex: the same answer is one, from any policy."""
    return hashlib.sha256(json.dumps([prompt, answer]).encode()).hexdigest()[:_KEY_HEX]
