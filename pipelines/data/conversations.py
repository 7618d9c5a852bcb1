"""Conversations out of a row: a text, or messages in OpenAI's, TRL's or ShareGPT's form. Bad ones are refused."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from actors.contract.conversation import USER, Turn, context_of
from pipelines.data.fields import clean_text, optional_text, text
from pipelines.data.rows import Row

# ShareGPT's names, and OpenAI's later one for the system.
_ROLES = {"human": "user", "gpt": "assistant", "developer": "system", "chatgpt": "assistant", "bot": "assistant"}
_KNOWN = ("system", "user", "assistant")


class Asked(NamedTuple):
    """A conversation up to its user's question."""

    # The last user turn.
    prompt: str
    # The turns before it, as tables hold them; None: there are none.
    context: str | None
    # The first user turn, which variants of a conversation share.
    first: str


def conversation(row: Row, column: str) -> Asked:
    """The column as a conversation: one text, or a list of messages. Answers behind the last question are left out."""
    messages = _messages(row.values[column])
    if messages is None:
        prompt = text(row, column)
        return Asked(prompt, None, prompt)
    turns = [_turn(row, column, message) for message in messages]
    while turns and turns[-1].role == "assistant":
        turns.pop()
    if not turns or turns[-1].role != USER:
        row.fail(f"'{column}' holds no user message to answer; end it with one, or drop the row.")
    _check_system(row, column, turns)
    return _asked(turns)


def _check_system(row: Row, column: str, turns: Sequence[Turn]) -> None:
    if any(turn.role == "system" for turn in turns[1:]):
        row.fail(f"'{column}' has a system message that is not the first; move it to the front.")


def _asked(turns: Sequence[Turn]) -> Asked:
    """Turns that end with the user's question."""
    first = next(turn.content for turn in turns if turn.role == USER)
    return Asked(turns[-1].content, context_of(turns), first)


class Demonstrated(NamedTuple):
    """An answer that a conversation shows, and what it answers."""

    asked: Asked
    answer: str


def demonstrations(row: Row, column: str) -> list[Demonstrated]:
    """Every answer of the assistant's in the column's messages, with the turns before it; at least one."""
    messages = _messages(row.values[column])
    if messages is None:
        row.fail(f"'{column}' holds no list of messages; write each as role and content.")
    turns = [_turn(row, column, message) for message in messages]
    _check_system(row, column, turns)
    answers = [place for place, turn in enumerate(turns) if turn.role == "assistant"]
    if not answers:
        row.fail(f"'{column}' holds no assistant message to learn; add the answer, or drop the row.")
    for place in answers:
        if not place or turns[place - 1].role != USER:
            row.fail(f"'{column}' has an assistant message that follows no user message; mend the order of turns.")
    return [Demonstrated(_asked(turns[:place]), turns[place].content) for place in answers]


def answer_text(row: Row, column: str) -> str | None:
    """The column as an answer: a text, or a list of one assistant message; None where it is absent or blank."""
    messages = _messages(row.values.get(column))
    if messages is None:
        return optional_text(row, column)
    if len(messages) != 1:
        row.fail(f"'{column}' holds {len(messages)} messages where one answer is expected; keep the answer alone.")
    return _turn(row, column, messages[0]).content


def _messages(value: object) -> Sequence[Any] | None:
    """A list of messages, also written as JSON in a cell; None for anything else."""
    if isinstance(value, str) and value.lstrip().startswith("[{"):
        try:
            value = json.loads(value)
        except ValueError:
            return None
    return value if isinstance(value, list) else None


def _turn(row: Row, column: str, message: Any) -> Turn:
    if not isinstance(message, dict):
        row.fail(f"'{column}' holds {type(message).__name__} where a message with role and content is expected.")
    said = message.get("role") or message.get("from")
    role = _ROLES.get(str(said).lower(), str(said).lower())
    if role not in _KNOWN:
        row.fail(f"'{column}' has a message of role {said!r}; use one of {', '.join(_KNOWN)}.")
    content = message.get("content") if message.get("content") is not None else message.get("value")
    if isinstance(content, list):
        if any(not isinstance(part, dict) or part.get("type") != "text" for part in content):
            row.fail(f"'{column}' has a message with more than text; keep its text alone.")
        content = "\n".join(str(part.get("text") or "") for part in content)
    return Turn(role=role, content=clean_text(row, f"{column}: a message's content", content))
