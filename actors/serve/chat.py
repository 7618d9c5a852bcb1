"""What a chat request and its answer say, for what keeps conversations: capture and shadow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from actors.contract.conversation import Turn

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
    """What is read of a chat request."""

    model_config = ConfigDict(extra="allow", frozen=True)

    messages: list[_ChatMessage]
    store: Any = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None

    @property
    def longest(self) -> int | None:
        """The longest answer it asks for, in tokens; the newer name counts."""
        return self.max_completion_tokens if self.max_completion_tokens is not None else self.max_tokens

    @property
    def unsteered(self) -> bool:
        """Whether all that shapes its answer is known here and leaves the words to the policy.

        A form, a biased token, a forced tool or a begun answer makes the policy say what it would not. Such an answer
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


def chat_request(asked: Mapping[str, Any]) -> ChatRequest | None:
    """A request's JSON object as a chat request; None where it has another shape."""
    try:
        return ChatRequest.model_validate(dict(asked))
    except ValidationError:
        return None


@dataclass(frozen=True)
class ChatAnswer:
    """The first choice of an answer."""

    answer_id: str
    answer: str
    finish_reason: str


def chat_answer(parts: Sequence[Mapping[str, Any]], streamed: bool) -> ChatAnswer | None:
    """The first choice of an answer, put together from a stream's deltas; None where it has no end or another shape.

    `parts`: its one JSON object, or the events of a stream. The text may be empty.
    """
    try:
        return _first_choice(parts, "delta" if streamed else "message")
    # It is no completion: an error in a stream, or another shape.
    except (KeyError, TypeError, AttributeError):
        return None


def _first_choice(parts: Sequence[Mapping[str, Any]], key: str) -> ChatAnswer | None:
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
