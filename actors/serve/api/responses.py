"""OpenAI's Responses API in the words of its chat API: what guard, capture and shadow read is a chat.

vLLM makes a chat of each request too (`construct_input_messages`). A response holds one answer: its messages,
reasoning and calls of tools are one message here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

# Of a request: what is said here in other words.
_TRANSLATED = frozenset({"input", "instructions", "max_output_tokens", "reasoning", "text", "tools", "tool_choice"})
_TEXT_PARTS = frozenset({"input_text", "output_text", "text"})
# The events that end a stream with the whole response.
_ENDS = frozenset({"response.completed", "response.incomplete"})
_BEGINS = frozenset({"response.created", "response.in_progress"})
# What an event holds of an answer: a piece of it, or at an item's end all of it.
_WRITTEN = ("delta", "text", "refusal", "arguments")
# Of a response: what the model wrote, or was given as tokens.
_ANSWERS = frozenset({"output", "input_messages", "output_messages", "error"})


def as_chat_request(asked: Mapping[str, Any]) -> dict[str, Any]:
    """The chat request that asks the same; fields that both have stay as they are.

    A request of another shape gives a chat request of another shape, which its reader refuses.
    """
    chat = {name: value for name, value in asked.items() if name not in _TRANSLATED}
    chat["messages"] = list(_messages(asked))
    if asked.get("max_output_tokens") is not None:
        chat["max_completion_tokens"] = asked["max_output_tokens"]
    effort = _field(asked.get("reasoning"), "effort")
    if effort is not None:
        chat["reasoning_effort"] = effort
    form = _field(asked.get("text"), "format")
    if isinstance(form, Mapping):
        inner = {name: value for name, value in form.items() if name != "type"}
        chat["response_format"] = {"type": form.get("type"), **({"json_schema": inner} if inner else {})}
    if isinstance(tools := asked.get("tools"), list):
        chat["tools"] = [_tool(tool) for tool in tools]
    if asked.get("tool_choice") is not None:
        chat["tool_choice"] = _tool(asked["tool_choice"])
    return chat


def is_response(parts: Sequence[Mapping[str, Any]]) -> bool:
    """Whether an answer, its one object or the events of its stream, is one of this API."""
    first = parts[0] if parts else {}
    return first.get("object") == "response" or str(first.get("type", "")).startswith("response.")


def as_chat_answer(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The chat completion that answers the same, without a choice where the response has no good end.

    Whatever a stream's events say beside the response at its end is in the message too, as `streamed`.
    """
    response = _response(parts)
    if response is None or response.get("status") not in ("completed", "incomplete"):
        return {"choices": []}
    items = [item for item in response.get("output") or () if isinstance(item, Mapping)]
    message: dict[str, Any] = {
        "role": "assistant",
        "content": "".join(text for item in items if item.get("type") == "message" for text in _texts(item)),
        "reasoning": "".join(text for item in items if item.get("type") == "reasoning" for text in _texts(item)),
        "tool_calls": [_call(item) for item in items if item.get("type") == "function_call"],
    }
    # Items of a kind that is not known here are read too.
    known = ("message", "reasoning", "function_call")
    others = [dict(item) for item in items if item.get("type") not in known]
    said = {
        message["content"],
        message["reasoning"],
        *(call["function"]["arguments"] for call in message["tool_calls"]),
    }
    streamed = [text for text in _streamed(parts) if text not in said]
    choice = {
        "index": 0,
        "message": {**message, "others": others, "streamed": streamed},
        "finish_reason": "length" if response["status"] == "incomplete" else "stop",
    }
    return {"id": response.get("id"), "choices": [choice]}


def usage_of(said: Mapping[str, Any]) -> dict[str, Any]:
    """The token counts of a response, or of the last event of its stream, by the names of a chat's."""
    response = said.get("response", said)
    usage = _field(response, "usage")
    if not isinstance(usage, Mapping):
        return {}
    return {"prompt_tokens": usage.get("input_tokens"), "completion_tokens": usage.get("output_tokens")}


def instead_of(parts: Sequence[Mapping[str, Any]], text: str) -> Iterator[dict[str, Any]]:
    """The same response with this text as its answer, whole or as the events of a stream.

    It is incomplete by `content_filter`, in OpenAI's words. Nothing that the model wrote stays.
    """
    response = _response(parts) or {}
    kept = {name: value for name, value in response.items() if name not in _ANSWERS}
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    item = {"id": "msg_guard", "type": "message", "role": "assistant", "status": "completed", "content": [part]}
    given = {**kept, "output": [item], "status": "incomplete", "incomplete_details": {"reason": "content_filter"}}
    if parts[0].get("object") == "response":
        yield given
        return
    place = {"output_index": 0, "item_id": item["id"], "content_index": 0}
    opening = {**item, "status": "in_progress", "content": []}
    begun = [dict(event) for event in parts if event.get("type") in _BEGINS]
    events: list[dict[str, Any]] = [
        *begun,
        {"type": "response.output_item.added", "output_index": 0, "item": opening},
        {"type": "response.content_part.added", **place, "part": {**part, "text": ""}},
        {"type": "response.output_text.delta", **place, "delta": text, "logprobs": []},
        {"type": "response.output_text.done", **place, "text": text, "logprobs": []},
        {"type": "response.content_part.done", **place, "part": part},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        # vLLM ends an answer that was cut off by this name too, and clients wait for it.
        {"type": "response.completed", "response": given},
    ]
    for number, event in enumerate(events):
        yield {**event, "sequence_number": number}


def _response(parts: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The response as it ended; None where it did not."""
    if parts and parts[0].get("object") == "response":
        return parts[0]
    ended = [part.get("response") for part in parts if part.get("type") in _ENDS]
    return ended[0] if len(ended) == 1 and isinstance(ended[0], Mapping) else None


def _messages(asked: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    if asked.get("instructions"):
        yield {"role": "system", "content": asked["instructions"]}
    given = asked.get("input")
    if isinstance(given, list):
        yield from (_message(item) if isinstance(item, Mapping) else {"role": "unknown"} for item in given)
    elif given is not None:
        yield {"role": "user", "content": given}


def _message(item: Mapping[str, Any]) -> dict[str, Any]:
    match item.get("type", "message"):
        case "message":
            return {"role": item.get("role"), "content": _content(item.get("content"))}
        case "function_call":
            return {"role": "assistant", "content": None, "tool_calls": [_call(item)]}
        case "function_call_output":
            return {"role": "tool", "tool_call_id": item.get("call_id"), "content": _content(item.get("output"))}
        case "reasoning":
            return {"role": "assistant", "content": None, "reasoning": "".join(_texts(item))}
        case _:
            return {"role": "unknown", "content": [dict(item)]}


def _content(content: object) -> object:
    """A content with the names that a chat has for its parts."""
    if not isinstance(content, list):
        return content
    return [{"type": "text", "text": part.get("text")} if _is_text(part) else part for part in content]


def _is_text(part: object) -> bool:
    return _field(part, "type") in _TEXT_PARTS


def _texts(item: Mapping[str, Any]) -> Iterator[str]:
    """The texts of a message or of reasoning: parts of its content, and of its summary."""
    for part in (*(item.get("summary") or ()), *(item.get("content") or ())):
        for name in ("text", "refusal"):
            if isinstance(text := _field(part, name), str):
                yield text


def _call(item: Mapping[str, Any]) -> dict[str, Any]:
    function = {"name": item.get("name"), "arguments": item.get("arguments")}
    return {"id": item.get("call_id"), "type": "function", "function": function}


def _tool(tool: object) -> object:
    """A tool, or the choice of one, whose function is beside its type; a chat has it below."""
    if not isinstance(tool, Mapping) or tool.get("type") != "function":
        return tool
    return {"type": "function", "function": {name: value for name, value in tool.items() if name != "type"}}


def _streamed(parts: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """What the events of a stream say of the answer: pieces of one kind together, and each text as it ended."""
    pieces: dict[str, str] = {}
    for part in parts:
        kind = str(part.get("type", ""))
        if not kind or kind in _BEGINS | _ENDS:
            continue
        for name in _WRITTEN:
            if isinstance(text := part.get(name), str):
                key = f"{kind}.{name}" if name == "delta" else f"{kind}.{name}.{len(pieces)}"
                pieces[key] = pieces.get(key, "") + text
    yield from dict.fromkeys(text for text in pieces.values() if text)


def _field(value: object, name: str) -> Any:
    return value.get(name) if isinstance(value, Mapping) else None
