"""One request for answers, parsed once, and its answer, collected once, for guard, shadow, capture and token count."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from pydantic_core import from_json

from actors.serve.api.chat import ChatAnswer, ChatRequest, chat_answer, chat_request
from actors.serve.api.responses import as_chat_answer, is_response
from actors.serve.api.sse import END, event, events
from actors.serve.gateway.caller import PublicRoute
from actors.serve.gateway.meter import NOT_SAID, TokenCount, tokens_of
from actors.serve.gateway.refusal import Header

JSON_KIND, STREAM_KIND = b"application/json", b"text/event-stream"
# Longer answers that nothing else keeps go uncounted rather than be kept for that alone.
LONGEST_JSON = 64 * 1024
_OK = 200
_DONE = END.rstrip()


@dataclass(frozen=True)
class AnswerContent:
    """An answer's body as JSON: one object, or the events of a stream but for its end mark."""

    parts: tuple[dict[str, Any], ...]
    streamed: bool

    @cached_property
    def chat(self) -> AnswerContent:
        """The same answer as a chat completion, where it is one of the Responses API."""
        return AnswerContent((as_chat_answer(self.parts),), streamed=False) if is_response(self.parts) else self

    def written(self) -> list[bytes]:
        """The body's parts."""
        if self.streamed and is_response(self.parts):
            return [event(part, part.get("type")) for part in self.parts]
        if self.streamed:
            return [*map(event, self.parts), END]
        return [json.dumps(part).encode() for part in self.parts]


class ServedAnswer:
    """An answer as the app gives it, part by part, or as the guard puts it in its place. Life: see* -> complete.

    Of a body longer than `most` bytes nothing is kept but its length and a stream's last event.
    """

    def __init__(self, most: int, version: Callable[[], str]) -> None:
        """`version`: the policy that answers now, asked for when the body begins, which is when that is sure."""
        self._most = most
        self._version = version
        self.status: int | None = None
        # With names in lower case.
        self.headers: list[Header] = []
        self.policy: str | None = None
        self.parts: list[bytes] = []
        # Of the body, in bytes.
        self.size = 0
        self.complete = False
        self._last = b""
        self._content: AnswerContent | None = None
        self._read = False

    def instead(
        self, status: int, headers: Sequence[Header], parts: list[bytes], content: AnswerContent | None
    ) -> ServedAnswer:
        """A complete answer of the same policy to go out in this one's place. `content`: what its parts say."""
        made = ServedAnswer(sum(map(len, parts)), self._version)
        made.status, made.headers, made.policy = status, list(headers), self.policy
        made.parts, made.size, made.complete = parts, made._most, True
        made._content, made._read = content, True
        return made

    def see(self, message: Mapping[str, Any]) -> None:
        """Take notice of what the app sends."""
        if message["type"] == "http.response.body":
            if self.policy is None:
                self.policy = self._version()
            part = message.get("body", b"")
            self.size += len(part)
            if self.size > self._most:
                self.parts.clear()
            elif part:
                self.parts.append(part)
            if part and not part.startswith(_DONE):
                self._last = part
            self.complete = not message.get("more_body", False)
        elif message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = [(bytes(name).lower(), bytes(value)) for name, value in message.get("headers", ())]
            if self.kind.startswith(JSON_KIND):
                self._most = max(self._most, LONGEST_JSON)

    @property
    def kind(self) -> bytes:
        """The content type."""
        return dict(self.headers).get(b"content-type", b"")

    @property
    def streamed(self) -> bool:
        return self.kind.startswith(STREAM_KIND)

    @property
    def content(self) -> AnswerContent | None:
        """What a complete answer says, read at most once; None where it is of another kind, too long, or no JSON."""
        if not self._read:
            self._content, self._read = self._as_json(), True
        return self._content

    def _as_json(self) -> AnswerContent | None:
        readable = self.kind.startswith((JSON_KIND, STREAM_KIND)) and b"content-encoding" not in dict(self.headers)
        if not readable or self.size > self._most:
            return None
        body = b"".join(self.parts)
        try:
            parts = list(events(body.decode())) if self.streamed else [from_json(body)]
        except ValueError:
            return None
        return AnswerContent(tuple(parts), self.streamed) if all(isinstance(part, dict) for part in parts) else None

    @property
    def chat(self) -> ChatAnswer | None:
        """Its first choice, where it is a good answer to a chat request that was given to its end."""
        if self.status != _OK or not self.complete or self.content is None:
            return None
        return chat_answer(self.content.chat.parts, self.content.chat.streamed)

    def tokens(self) -> TokenCount:
        """The tokens that a good answer says it took.

        Where nothing else has read it, only a short JSON body, or the last event of a stream, is read for that.
        """
        if self.status != _OK:
            return NOT_SAID
        if self._read:
            return tokens_of(self._content.parts[-1]) if self._content is not None and self._content.parts else NOT_SAID
        said = _last_event(self._last) if self.streamed else b"".join(self.parts)
        if not self.kind.startswith((JSON_KIND, STREAM_KIND)) or b'"usage"' not in said:
            return NOT_SAID
        if len(self._last if self.streamed else said) > LONGEST_JSON:
            return NOT_SAID
        try:
            return tokens_of(from_json(said))
        except ValueError:
            return NOT_SAID


def _last_event(part: bytes) -> bytes:
    """The last event in a part of a stream, as vLLM sends them: an object in one line."""
    found = [line[len(b"data: ") :] for line in part.splitlines() if line.startswith(b"data: {")]
    return found[-1] if found else b""


@dataclass(frozen=True)
class ServedExchange:
    """One request for answers, as the gateway has read and checked it, and the app's answer to it.

    `asked`: the body's JSON object, a view that cannot be changed; the app reads the very bytes that it was read from.
    A request for a response is here as the chat request that asks the same. `size`: of the body, in bytes. `caller`:
    the name of the key.
    """

    route: PublicRoute
    caller: str
    asked: Mapping[str, Any]
    size: int
    answer: ServedAnswer

    @property
    def is_chat(self) -> bool:
        return self.route.asks in ("chat", "response")

    @property
    def may_be_kept(self) -> bool:
        """Whether its sender asked for that."""
        return self.asked.get("store") is True

    @cached_property
    def chat(self) -> ChatRequest | None:
        """What a chat request says; None for any other, and where it has another shape."""
        return chat_request(self.asked) if self.is_chat else None


class AnswerFilter(Protocol):
    """Decides what goes out in the place of the app's answers, which are held back meanwhile if they are good ones."""

    most_bytes: int

    async def given(self, exchange: ServedExchange, ask: Callable[[], Awaitable[None]]) -> ServedAnswer | None:
        """What goes out; None where the app's answer has: it was no good one. `ask` has the app answer."""


class ExchangeReader(Protocol):
    """Is told of every exchange whose answer was given to its end. It must not raise, nor change what it reads."""

    most_bytes: int

    async def read(self, exchange: ServedExchange, given: ServedAnswer) -> None:
        """`given`: the app's answer, or what went out in its place."""


@dataclass(frozen=True)
class ExchangeLayers:
    """What sees exchanges beside the gateway.

    `shadow` reads what the app itself said: policies are compared by that. `capture` reads what the client got.
    """

    guard: AnswerFilter | None = None
    shadow: ExchangeReader | None = None
    capture: ExchangeReader | None = None

    @property
    def most_bytes(self) -> int:
        """The longest answer that any of them reads."""
        return max((each.most_bytes for each in (self.guard, self.shadow, self.capture) if each is not None), default=0)


NO_LAYERS = ExchangeLayers()
