"""Server-sent events, as OpenAI's API streams them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pydantic_core import from_json

END = b"data: [DONE]\n\n"


def events(body: str) -> Iterator[Any]:
    """The data of every event but the last one, which is no JSON. Raises ValueError where another is none."""
    # Not `splitlines`, which would also break at characters that JSON leaves as they are.
    for line in body.split("\n"):
        name, _, data = line.partition(":")
        if name == "data" and data.strip() != "[DONE]":
            yield from_json(data)


def event(data: object, name: str | None = None) -> bytes:
    """One event, with its name where it has one; ASCII, so whatever is in it can be sent."""
    named = f"event: {name}\n".encode() if name is not None else b""
    return named + b"data: " + json.dumps(data, separators=(",", ":")).encode() + b"\n\n"
