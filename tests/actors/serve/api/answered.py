"""Answers of the Responses API as vLLM gives them, whole and streamed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from actors.serve.api.sse import event
from tests.actors.serve.guard.guarded import Answering

RESPONSE_USAGE = {
    "input_tokens": 7,
    "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
    "output_tokens": 3,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 10,
}


def response_of(*items: dict[str, Any], status: str = "completed") -> dict[str, Any]:
    """The object, as vLLM's server writes it."""
    return {
        "id": "resp_1",
        "created_at": 7,
        "incomplete_details": None,
        "instructions": None,
        "metadata": None,
        "model": "salus",
        "object": "response",
        "output": list(items),
        "parallel_tool_calls": True,
        "temperature": 0.0,
        "tool_choice": "none",
        "tools": [],
        "top_p": 1.0,
        "background": False,
        "max_output_tokens": 8,
        "service_tier": "auto",
        "status": status,
        "truncation": "disabled",
        "usage": RESPONSE_USAGE if status in ("completed", "incomplete") else None,
    }


def message_of(text: str) -> dict[str, Any]:
    part: dict[str, Any] = {"type": "output_text", "text": text, "annotations": [], "logprobs": None}
    return {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [part]}


def whole_response(text: str, **more: Any) -> Answering:
    return Answering([json.dumps(response_of(message_of(text), **more)).encode()])


def events_of(pieces: Sequence[str], text: str | None = None) -> list[dict[str, Any]]:
    """The events of a stream that says `pieces`, and at its end `text`, or the same."""
    begun = response_of(status="in_progress")
    place = {"output_index": 0, "item_id": "msg_1", "content_index": 0}
    said = "".join(pieces) if text is None else text
    item = message_of(said)
    found: list[dict[str, Any]] = [
        {"type": "response.created", "response": begun},
        {"type": "response.in_progress", "response": begun},
        {"type": "response.output_item.added", "output_index": 0, "item": {**item, "content": []}},
        {"type": "response.content_part.added", **place, "part": {**item["content"][0], "text": ""}},
        *({"type": "response.output_text.delta", **place, "delta": piece, "logprobs": []} for piece in pieces),
        {"type": "response.output_text.done", **place, "text": said, "logprobs": []},
        {"type": "response.content_part.done", **place, "part": item["content"][0]},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": response_of(item)},
    ]
    return [{**each, "sequence_number": number} for number, each in enumerate(found)]


def streamed_response(*pieces: str, text: str | None = None, ended: bool = True) -> Answering:
    parts = [event(each, each["type"]) for each in events_of(pieces, text)]
    return Answering(parts if ended else parts[:-1], "text/event-stream; charset=utf-8")
