"""What a scheme makes of a conversation: the one function by which it is measured and served."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from actors.contract.conversation import USER, Turn
from actors.contract.records import Record
from actors.files.records import read_record

# Beside the figures of a policy under its scheme.
SCHEME_FILE = "scheme.json"
# A request with a good answer.
Example = tuple[str, str]
_ROLES = ("user", "assistant")


class ServedScheme(Record):
    """A scheme as it was measured, with all that serving it takes."""

    name: str
    # In place of the deployed one; None: that one.
    system_prompt: str | None
    # Behind each request; None: nothing.
    suffix: str | None
    # How many examples come before a request, of these.
    few_shot: int = Field(ge=0)
    examples: tuple[Example, ...]
    # Tokens that were kept for an answer where it was measured.
    answer_tokens: int = Field(ge=1)


def read_scheme(path: Path) -> ServedScheme:
    """A scheme's file. Raises `SalusError` where it cannot be read."""
    return read_record(ServedScheme, path, "an inference scheme", "register the run's policy again")


def as_scheme_asks(
    turns: Sequence[Turn], system_prompt: str | None, suffix: str | None, shown: Sequence[Example]
) -> tuple[Turn, ...]:
    """A conversation that ends with its user's word, as a scheme asks it.

    Args:
        turns: the conversation.
        system_prompt: in place of its system turns; None: these stay.
        suffix: behind the last word.
        shown: examples before the conversation, the nearest last.
    """
    *before, last = turns
    system = [turn for turn in before if turn.role == "system"]
    if system_prompt is not None:
        system = [Turn(role="system", content=system_prompt)]
    told = [Turn(role=role, content=text) for each in shown for role, text in zip(_ROLES, each, strict=True)]
    asked = last.content if suffix is None else f"{last.content}\n\n{suffix}"
    rest = [turn for turn in before if turn.role != "system"]
    return (*system, *told, *rest, Turn(role=USER, content=asked))
