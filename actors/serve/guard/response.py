"""An answer put together anew, with the template in the place of unsafe choices, or with its errors alone."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from actors.serve.api.responses import instead_of, is_response
from actors.serve.gateway.exchange import AnswerContent
from actors.serve.guard.texts import choices_of, index_of

# Why an answer ends here, in OpenAI's words.
FINISH_REASON = "content_filter"
# What of a response says nothing of its answers.
_KEPT = ("id", "object", "created", "model", "system_fingerprint", "service_tier")


def replaced(content: AnswerContent, unsafe: Collection[int], template: str) -> AnswerContent:
    """Ids, usage and every other choice stay as they are."""
    if is_response(content.parts):
        return AnswerContent(tuple(instead_of(content.parts, template)), content.streamed)
    if content.streamed:
        return AnswerContent(tuple(_streamed(content, unsafe, template)), streamed=True)
    (part,) = content.parts
    return AnswerContent((_whole(part, unsafe, template),), streamed=False)


def errors_of(content: AnswerContent) -> AnswerContent:
    """Of a stream that failed half-way its errors, and no piece of an answer."""
    return AnswerContent(tuple({"error": part["error"]} for part in content.parts if "error" in part), streamed=True)


def _whole(part: Mapping[str, Any], unsafe: Collection[int], template: str) -> dict[str, Any]:
    choices = [
        choice
        if index_of(choice) not in unsafe
        else _choice(index_of(choice), {"message": _said(template)} if "message" in choice else {"text": template})
        for choice in choices_of(part)
    ]
    return {**_head(part), "choices": choices, **_usage(part)}


def _streamed(content: AnswerContent, unsafe: Collection[int], template: str) -> Iterator[dict[str, Any]]:
    usage: dict[str, Any] | None = None
    chat = False
    for part in content.parts:
        choices = choices_of(part)
        if not choices:
            # The last event but the end mark, where the client asked for it.
            usage = {**_head(part), "choices": [], **_usage(part)} if "usage" in part else usage
            continue
        chat = chat or any("delta" in choice for choice in choices)
        if kept := [choice for choice in choices if index_of(choice) not in unsafe]:
            yield {**_head(part), "choices": kept, **_usage(part)}
    head = _head(content.parts[0])
    for index in sorted(unsafe):
        for choice in _pieces(index, template, chat):
            yield {**head, "choices": [choice]}
    if usage is not None:
        yield usage


def _pieces(index: int, template: str, chat: bool) -> Iterator[dict[str, Any]]:
    """The template as a stream brings an answer."""
    if not chat:
        yield _choice(index, {"text": template})
        return
    yield _choice(index, {"delta": {"role": "assistant", "content": ""}}, None)
    yield _choice(index, {"delta": {"content": template}}, None)
    yield _choice(index, {"delta": {}})


def _choice(index: int, said: Mapping[str, Any], reason: str | None = FINISH_REASON) -> dict[str, Any]:
    return {"index": index, **said, "logprobs": None, "finish_reason": reason}


def _said(template: str) -> dict[str, Any]:
    return {"role": "assistant", "content": template}


def _usage(part: Mapping[str, Any]) -> dict[str, Any]:
    return {"usage": part["usage"]} if "usage" in part else {}


def _head(part: Mapping[str, Any]) -> dict[str, Any]:
    return {name: part[name] for name in _KEPT if name in part}
