"""Whether two ways of rendering a conversation give the same tokens: a policy is trained on what it will be asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jinja2 import TemplateError

from actors.contract.conversation import Turn
from actors.engine.chat import conversation_tokens
from actors.errors import SalusError

_ASKED = Turn(role="user", content="How much ibuprofen may an adult take a day?\nIch frage f\u00fcr  meine Mutter.")
# Conversations of the kinds that a deployment has. A template may refuse some of them.
CONVERSATIONS: tuple[tuple[Turn, ...], ...] = (
    (_ASKED,),
    (Turn(role="system", content="You are a clinic's assistant."), _ASKED),
    (Turn(role="user", content="Hello"), Turn(role="assistant", content="Good morning."), _ASKED),
)


def rendered_conversations(tokenizer: Any) -> list[tuple[tuple[Turn, ...], list[int]]]:
    """The conversations that a tokenizer's template renders, with their token ids."""
    found = []
    for turns in CONVERSATIONS:
        try:
            found.append((turns, conversation_tokens(tokenizer, turns)))
        except TemplateError:
            continue
    return found


def check_same_ids(tokenizer: Any, expected: Sequence[int], found: Sequence[int], who: str) -> None:
    """Refuse another rendering than the policy is generated, judged and trained with.

    Args:
        tokenizer: spells both out.
        who: renders `found`, as "The endpoint".

    Raises:
        SalusError: they differ; shows both from the first difference on.
    """
    if list(found) == list(expected):
        return
    pairs = enumerate(zip(expected, found, strict=False))
    first = next((place for place, (one, other) in pairs if one != other), min(len(expected), len(found)))
    raise SalusError(
        f"{who} renders a conversation otherwise than the generator of {tokenizer.name_or_path}, from token {first}:"
        f" {_spelt(tokenizer, found, first)} instead of {_spelt(tokenizer, expected, first)}. Keep one tokenizer and"
        " one chat template in the model's folder."
    )


def _spelt(tokenizer: Any, ids: Sequence[int], first: int) -> str:
    shown = list(ids[max(first - 2, 0) : first + 6])
    return f"{tokenizer.decode(shown)!r} {shown}"
