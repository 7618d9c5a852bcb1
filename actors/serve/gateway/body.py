"""The body of a request: read once, within its limits, parsed once to be looked at, and handed on as it came."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from math import isfinite
from typing import TYPE_CHECKING, Any

from pydantic_core import from_json

from actors.serve.gateway.config import GatewayConfig
from actors.serve.gateway.refusal import ClientGone, Header, Refused

if TYPE_CHECKING:
    from starlette.types import Message, Receive

# What is left of the body is not read, so the connection cannot be used again.
_CLOSE: Header = (b"connection", b"close")
# More digits than any length has, and fewer than Python refuses to read.
_LONGEST_LENGTH = 18


async def read_body(receive: Receive, headers: Mapping[bytes, bytes], config: GatewayConfig) -> bytes:
    """The whole body.

    Raises:
        Refused: (413) it is too long, whatever Content-Length says; (408) it takes too long.
        ClientGone: the client left.
    """
    announced = headers.get(b"content-length", b"")
    if announced.isdigit() and (len(announced) > _LONGEST_LENGTH or int(announced) > config.max_body_bytes):
        raise _too_long(config)
    try:
        async with asyncio.timeout(config.body_timeout_s):
            return await _collect(receive, config)
    except TimeoutError as error:
        sentence = f"The body did not arrive within {config.body_timeout_s:g} s."
        raise Refused(408, sentence, "request_timeout", headers=[_CLOSE]) from error


def replayed(body: bytes, receive: Receive) -> Receive:
    """A `receive` that yields the body that was read, and then whatever the client still says, such as goodbye."""
    pending = True

    async def again() -> Message:
        nonlocal pending
        if not pending:
            return await receive()
        pending = False
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def parse_body(body: bytes) -> dict[str, Any]:
    """A body as a JSON object.

    Parsed by a parser that has limits of its own: no lone surrogates, no NaN, no more than 200 levels. Whatever it
    lets through, the app's own parser can read too, and of a field that comes twice both take the last.

    Raises:
        Refused: (400) it is none.
    """
    try:
        asked = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise Refused(400, f"The body is not JSON: {error}.", "invalid_json") from error
    if not isinstance(asked, dict):
        raise Refused(400, "The body must be a JSON object.", "invalid_json")
    return asked


def check_limits(asked: Mapping[str, Any], config: GatewayConfig, generates: bool) -> None:
    """Refuse a request that asks for more than it may.

    Raises:
        Refused: (400) says which field.
    """
    characters = count_characters(asked)
    if not generates:
        return
    for name in ("max_tokens", "max_completion_tokens", "max_output_tokens"):
        _at_most(config.max_tokens_per_request, _whole(asked, name, 0), name)
    answers = max(_whole(asked, "n", 1), _whole(asked, "best_of", 1))
    prompts = max(_prompts(asked.get("prompt")), _prompts(asked.get("prompt_embeds")))
    _at_most(config.max_answers_per_request, answers * prompts, "n")
    if config.max_prompt_chars is not None and characters > config.max_prompt_chars:
        limit = f"{characters} characters of text; at most {config.max_prompt_chars} are taken"
        raise Refused(400, f"The request holds {limit}.", "context_length_exceeded", "messages")


def count_characters(value: object) -> int:
    """The characters of all texts in a JSON value, names of fields included: whatever may end up in a prompt.

    Raises:
        Refused: (400) a number is too large to be one, as 1e999; an answer could not quote it.
    """
    total = 0
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            total += len(value)
        elif isinstance(value, dict):
            waiting += value
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
        elif isinstance(value, float) and not isfinite(value):
            raise Refused(400, "The body holds a number that is too large.", "invalid_json")
    return total


async def _collect(receive: Receive, config: GatewayConfig) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise ClientGone
        part = message.get("body", b"")
        size += len(part)
        if size > config.max_body_bytes:
            raise _too_long(config)
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)


def _whole(asked: Mapping[str, Any], name: str, default: int) -> int:
    """A count; the app would also take "5" for 5, so anything but a whole number would pass by the limit."""
    value = asked.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int):
        raise Refused(400, f"{name} must be a whole number.", "invalid_type", name)
    return value


def _at_most(limit: int | None, value: int, name: str) -> None:
    if limit is not None and value > limit:
        what = "answers (n times prompts)" if name == "n" else name
        raise Refused(400, f"The request asks for {value} {what}; at most {limit} are given.", "limit_exceeded", name)


def _prompts(prompt: object) -> int:
    """How many prompts a field holds: a list of texts, or of lists of tokens, is one each."""
    several = isinstance(prompt, list) and prompt and not isinstance(prompt[0], int)
    return len(prompt) if several and isinstance(prompt, list) else 1


def _too_long(config: GatewayConfig) -> Refused:
    sentence = f"The body is longer than {config.max_body_bytes} bytes."
    return Refused(413, sentence, "request_too_large", headers=[_CLOSE])
