"""A response held back until it was judged, and put together anew with the template in the place of unsafe answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from actors.serve.gateway.refusal import Header
from actors.serve.guard.texts import Response, choices_of, index_of
from actors.serve.sse import END, event

if TYPE_CHECKING:
    from starlette.types import Message, Send

_OK = 200


class HeldResponse:
    """A `send` that keeps a good response and passes any other on. Life: start -> bodies -> whole | passed.

    What is longer than `most` bytes is not kept, so that no response fills the memory, and counts as unreadable.
    """

    def __init__(self, send: Send, most: int, begins: Callable[[], None]) -> None:
        """`begins` is called when the first part of a body comes, which is when its policy is sure."""
        self._send = send
        self._most = most
        self._begins = begins
        self._start: Message | None = None
        self.parts: list[bytes] = []
        self._size = 0
        self._has_body = False
        self.passed = False
        self.complete = False
        self.too_long = False

    async def __call__(self, message: Message) -> None:
        """Take what the app sends."""
        if message["type"] == "http.response.start":
            self._start = message
            self.passed = message["status"] != _OK
        if self.passed:
            await self._send(message)
        elif message["type"] == "http.response.body":
            self._keep(message)

    @property
    def begun(self) -> bool:
        """Whether there is a good response."""
        return self._start is not None and not self.passed

    @property
    def headers(self) -> list[Header]:
        """The response's headers, with names in lower case."""
        assert self._start is not None
        return [(bytes(name).lower(), bytes(value)) for name, value in self._start.get("headers", ())]

    def _keep(self, message: Message) -> None:
        if not self._has_body:
            self._has_body = True
            self._begins()
        body: bytes = message.get("body", b"")
        self._size += len(body)
        self.complete = not message.get("more_body", False)
        if self._size > self._most:
            self.too_long = True
            self.parts.clear()
        elif body:
            self.parts.append(body)


# Why an answer ends here, in OpenAI's words.
FINISH_REASON = "content_filter"
# What of a response says nothing of its answers.
_KEPT = ("id", "object", "created", "model", "system_fingerprint", "service_tier")


def replaced(response: Response, unsafe: Collection[int], template: str) -> list[bytes]:
    """The body's parts; ids, usage and every other answer stay as they are."""
    if not response.streamed:
        (part,) = response.parts
        return [json.dumps(_whole(part, unsafe, template)).encode()]
    return list(_streamed(response, unsafe, template))


def errors_of(response: Response) -> list[bytes]:
    """Of a stream that failed half-way its errors, and no piece of an answer."""
    return [*(event({"error": part["error"]}) for part in response.parts if "error" in part), END]


def _whole(part: Mapping[str, Any], unsafe: Collection[int], template: str) -> dict[str, Any]:
    choices = [
        choice
        if index_of(choice) not in unsafe
        else _choice(index_of(choice), {"message": _said(template)} if "message" in choice else {"text": template})
        for choice in choices_of(part)
    ]
    return {**_head(part), "choices": choices, **_usage(part)}


def _streamed(response: Response, unsafe: Collection[int], template: str) -> Iterator[bytes]:
    usage: dict[str, Any] | None = None
    chat = False
    for part in response.parts:
        choices = choices_of(part)
        if not choices:
            # The last event but the end mark, where the client asked for it.
            usage = {**_head(part), "choices": [], **_usage(part)} if "usage" in part else usage
            continue
        chat = chat or any("delta" in choice for choice in choices)
        if kept := [choice for choice in choices if index_of(choice) not in unsafe]:
            yield event({**_head(part), "choices": kept, **_usage(part)})
    head = _head(response.parts[0])
    for index in sorted(unsafe):
        for choice in _pieces(index, template, chat):
            yield event({**head, "choices": [choice]})
    if usage is not None:
        yield event(usage)
    yield END


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
