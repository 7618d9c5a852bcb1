"""Messages under a model's own chat template: the one place that turns a conversation into tokens, or an answer.

Generator, judge, trainer and scorer all render here. The endpoint renders by itself, and is compared with this.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from actors.contract.conversation import Turn
from actors.errors import SalusError

# A template that writes messages as they are: texts under it are rendered already.
PLAIN_TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"


def chat_text(tokenizer: Any, message: str) -> str:
    """One user message under the model's own chat template, up to where the assistant's answer begins."""
    return conversation_text(tokenizer, [Turn(role="user", content=message)])


def conversation_text(tokenizer: Any, turns: Sequence[Turn]) -> str:
    """Turns under the model's own chat template, up to where the assistant's answer begins."""
    rendered: str = tokenizer.apply_chat_template(_messages(turns), add_generation_prompt=True, tokenize=False)
    return rendered


def chat_tokens(tokenizer: Any, message: str) -> list[int]:
    """One user message under the model's own chat template, ready for the assistant's first token."""
    return conversation_tokens(tokenizer, [Turn(role="user", content=message)])


def conversation_tokens(tokenizer: Any, turns: Sequence[Turn]) -> list[int]:
    """Turns under the model's own chat template, ready for the assistant's first token."""
    return text_tokens(tokenizer, conversation_text(tokenizer, turns))


def text_tokens(tokenizer: Any, rendered: str) -> list[int]:
    """Token ids of a text that the template has rendered, special tokens included."""
    return list(tokenizer.encode(rendered, add_special_tokens=False))


def completion_text(tokenizer: Any, turns: Sequence[Turn], answer: str, before: str | None = None) -> str:
    """What follows `conversation_text` where the assistant says `answer`: the answer as the template wants it.

    The model would have written it so, and it ends its turn. Some templates drop thoughts, or what their own
    generation prompt begins. After those the answer follows as it is, and then the end of the turn.

    Args:
        before: the turns' `conversation_text`, where it is at hand; None: render it.

    Raises:
        SalusError: the template leaves the answer out, or nothing ends it.
    """
    if before is None:
        before = conversation_text(tokenizer, turns)
    whole = tokenizer.apply_chat_template([*_messages(turns), {"role": "assistant", "content": answer}], tokenize=False)
    if whole.startswith(before):
        return str(whole[len(before) :])
    return answer + end_of_turn(tokenizer)


def end_of_turn(tokenizer: Any) -> str:
    """What a model writes behind an answer: the control token of its template, else its end-of-sequence token.

    Raises:
        SalusError: the template leaves the answer out, or nothing ends one.
    """
    asked = [{"role": "user", "content": "?"}, {"role": "assistant", "content": _WORD}]
    _, shown, tail = tokenizer.apply_chat_template(asked, tokenize=False).rpartition(_WORD)
    if not shown:
        raise SalusError(
            f"The chat template of {tokenizer.name_or_path} leaves out the assistant's answer, so it cannot be"
            " trained on; use another model, or mend its chat_template.jinja."
        )
    behind = text_tokens(tokenizer, tail.strip())
    if behind and behind[0] in {*tokenizer.all_special_ids, *tokenizer.get_added_vocab().values()}:
        return str(tokenizer.convert_ids_to_tokens(behind[0]))
    if tokenizer.eos_token is None:
        raise SalusError(
            f"The tokenizer of {tokenizer.name_or_path} has no token that ends an answer; set its eos_token."
        )
    return str(tokenizer.eos_token)


_WORD = "Accept"


def _messages(turns: Sequence[Turn]) -> list[Mapping[str, str]]:
    return [turn.model_dump() for turn in turns]
