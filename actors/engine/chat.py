"""Messages under a model's own chat template, as text and as tokens, up to where the assistant's answer begins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def chat_text(tokenizer: Any, message: str) -> str:
    """One user message under the model's own chat template, up to where the assistant's answer begins."""
    return conversation_text(tokenizer, [{"role": "user", "content": message}])


def conversation_text(tokenizer: Any, turns: Sequence[Mapping[str, str]]) -> str:
    """Turns (`role`, `content`) under the model's own chat template, up to where the assistant's answer begins."""
    rendered: str = tokenizer.apply_chat_template(list(turns), add_generation_prompt=True, tokenize=False)
    return rendered


def chat_tokens(tokenizer: Any, message: str) -> list[int]:
    """One user message under the model's own chat template, ready for the assistant's first token."""
    return conversation_tokens(tokenizer, [{"role": "user", "content": message}])


def conversation_tokens(tokenizer: Any, turns: Sequence[Mapping[str, str]]) -> list[int]:
    """Turns (`role`, `content`) under the model's own chat template, ready for the assistant's first token."""
    return list(tokenizer.encode(conversation_text(tokenizer, turns), add_special_tokens=False))
