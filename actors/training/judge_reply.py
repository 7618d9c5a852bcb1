"""What a judge is taught to reply: the label's word, then the end of its turn, in the judge's own tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from actors.errors import SalusError


def reply_tokens(tokenizer: Any, words: Sequence[str]) -> dict[str, list[int]]:
    """Token ids of each word as a judge is scored on it (`first_tokens`), and the end of the turn behind it.

    Raises:
        SalusError: the chat template does not show an answer, or nothing ends one.
    """
    end = _end_of_turn(tokenizer, words[0])
    return {word: [*tokenizer.encode(word, add_special_tokens=False), end] for word in words}


def _end_of_turn(tokenizer: Any, word: str) -> int:
    """The control token the chat template puts behind an answer, or else the end-of-sequence token."""
    messages = [{"role": "user", "content": "?"}, {"role": "assistant", "content": word}]
    _, shown, tail = tokenizer.apply_chat_template(messages, tokenize=False).rpartition(word)
    if not shown:
        raise SalusError(
            f"The chat template of {tokenizer.name_or_path} leaves out the assistant's answer, so no judge can be"
            " trained with it; use another model, or mend its chat_template.jinja."
        )
    behind = tokenizer.encode(tail.strip(), add_special_tokens=False)
    control = {*tokenizer.all_special_ids, *tokenizer.get_added_vocab().values()}
    if behind and behind[0] in control:
        return int(behind[0])
    if tokenizer.eos_token_id is None:
        raise SalusError(
            f"The tokenizer of {tokenizer.name_or_path} has no token that ends an answer; set its eos_token."
        )
    return int(tokenizer.eos_token_id)
