"""What a chat request and its response say as they pass by, for capture and shadow; bounded in what is held."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from actors.serve.feedback.records import UNKNOWN_POLICY, Turn
from actors.serve.sse import events

# Fields that leave an answer what it is, whatever they say.
_WITHOUT_EFFECT = frozenset(
    {
        "model", "stream", "stream_options", "user", "metadata", "safety_identifier", "n", "seed", "logprobs",
        "top_logprobs", "return_token_ids", "service_tier", "moderation", "prediction", "verbosity",
        "parallel_tool_calls", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention",
    }
)  # fmt: skip
# Others do only with other values than these.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "repetition_penalty": (1,),
    "min_tokens": (0,),
    "min_p": (0,),
    "top_k": (0, -1),
    "stop": ([],),
    "tools": ([],),
    "tool_choice": ("none",),
    "logit_bias": ({},),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
}


class _ChatPart(BaseModel):
    type: str
    text: str = ""


class _ChatMessage(BaseModel):
    model_config = ConfigDict(extra="allow")

    role: str
    content: str | list[_ChatPart]

    def turn(self) -> Turn | None:
        """The message as text; None where it holds anything else: calls of tools, reasoning, a name."""
        if any(value not in (None, []) for value in (self.model_extra or {}).values()):
            return None
        if isinstance(self.content, str):
            return Turn(role=self.role, content=self.content)
        if any(part.type != "text" for part in self.content):
            return None
        return Turn(role=self.role, content="\n".join(part.text for part in self.content))


class ChatRequest(BaseModel):
    """What is read of a request's body."""

    model_config = ConfigDict(extra="allow")

    messages: list[_ChatMessage]
    store: Any = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None

    @property
    def may_be_kept(self) -> bool:
        """Whether its sender asked for that."""
        return self.store is True

    @property
    def longest(self) -> int | None:
        """The longest answer it asks for, in tokens; the newer name counts."""
        return self.max_completion_tokens if self.max_completion_tokens is not None else self.max_tokens

    @property
    def unsteered(self) -> bool:
        """Whether all that shapes its answer is known here and leaves the words to the policy.

        A form, a biased token, a forced tool or a begun answer makes the policy say what it would not: such an answer
        teaches nothing about it, and is comparable to no other policy's.
        """
        others = (self.model_extra or {}).items()
        return all(
            value is None or name in _WITHOUT_EFFECT or value in _NEUTRAL.get(name, ()) for name, value in others
        )

    def turns(self) -> tuple[Turn, ...] | None:
        """A conversation of texts that ends with its user's word; None for any other."""
        turns = [message.turn() for message in self.messages]
        whole = tuple(turn for turn in turns if turn is not None)
        return whole if whole and len(whole) == len(turns) and whole[-1].role == "user" else None


POLICY_HEADER = "x-salus-policy"
_OK = 200
_STREAM = "text/event-stream"


@dataclass
class HttpExchange:
    """Collects what passes; nothing here can fail, since it stands in the way of an answer."""

    max_request_bytes: int
    max_response_bytes: int
    request: bytearray = field(default_factory=bytearray)
    response: bytearray = field(default_factory=bytearray)
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    # Asked for when the answer begins; None: by the response's own header.
    version: Callable[[], str] | None = None
    answered_by: str | None = None
    too_large: bool = False
    over: bool = False

    def heard(self, message: Mapping[str, Any]) -> None:
        """A message of the client."""
        if message["type"] == "http.request":
            self._collect(self.request, message.get("body", b""), self.max_request_bytes)

    def said(self, message: Mapping[str, Any]) -> None:
        """A message to the client."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            pairs = message.get("headers", ())
            self.headers = {bytes(k).decode("latin-1").lower(): bytes(v).decode("latin-1") for k, v in pairs}
        elif message["type"] == "http.response.body":
            if self.version is not None and self.answered_by is None:
                self.answered_by = self.version()
            self._collect(self.response, message.get("body", b""), self.max_response_bytes)
            self.over = not message.get("more_body", False)

    def _collect(self, into: bytearray, body: bytes, most: int) -> None:
        self.too_large = self.too_large or len(into) + len(body) > most
        if self.too_large:
            # Nothing of it will be used.
            into.clear()
        else:
            into += body

    @property
    def policy(self) -> str:
        """The version of the policy that answered."""
        return self.answered_by or self.headers.get(POLICY_HEADER) or UNKNOWN_POLICY


async def pass_on(
    app: ASGIApp,
    scope: Scope,
    receive: Receive,
    send: Send,
    exchange: HttpExchange,
    over: Callable[[], Awaitable[None]],
) -> None:
    """Let the app answer while `exchange` collects; every chunk goes on at once, and behind the last comes `over`."""

    async def hear() -> Message:
        message: MutableMapping[str, Any] = await receive()
        exchange.heard(message)
        return message

    async def say(message: Message) -> None:
        await send(message)
        exchange.said(message)
        if exchange.over:
            await over()

    await app(scope, hear, say)


def is_chat(scope: Mapping[str, Any]) -> bool:
    """Whether a request is for a chat completion."""
    return bool(
        scope["type"] == "http" and scope["method"] == "POST" and str(scope["path"]).endswith("/chat/completions")
    )


@dataclass(frozen=True)
class ChatAnswer:
    """The first choice of a response."""

    answer_id: str
    answer: str
    finish_reason: str


def read_request(exchange: HttpExchange, opted_in: bool) -> ChatRequest | None:
    """The request's body; None where it is none, or where `opted_in` ones are wanted and it does not ask to be kept."""
    # Most requests do not ask: no need to read them.
    if opted_in and b'"store"' not in exchange.request:
        return None
    try:
        request = ChatRequest.model_validate_json(bytes(exchange.request))
    except ValidationError:
        return None
    return request if request.may_be_kept or not opted_in else None


def answered(exchange: HttpExchange, or_empty: bool = False) -> ChatAnswer | None:
    """The first choice of a response, put together from a stream's deltas; None where it has no end or no text.

    `or_empty`: an answer that ended without text is one too.
    """
    if exchange.status != _OK or "content-encoding" in exchange.headers:
        return None
    streamed = exchange.headers.get("content-type", "").startswith(_STREAM)
    try:
        body = exchange.response.decode()
        parts = list(events(body)) if streamed else [json.loads(body)]
        said = _first_choice(parts, "delta" if streamed else "message")
    # It is no completion: an error in a stream, or another shape.
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return said if said is not None and (said.answer or or_empty) else None


def _first_choice(parts: list[Any], key: str) -> ChatAnswer | None:
    answer, finish_reason = "", ""
    for part in parts:
        for choice in part["choices"]:
            if choice["index"] == 0:
                answer += choice[key].get("content") or ""
                finish_reason = choice.get("finish_reason") or finish_reason
    answer_id = parts[0]["id"] if parts else ""
    if not (isinstance(answer_id, str) and answer_id and finish_reason):
        return None
    return ChatAnswer(answer_id, answer, str(finish_reason))
