"""A chat request as capture and shadow mode read it, and whether its answer is the policy's own."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from actors.serve.feedback.records import Turn

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


class _Part(BaseModel):
    type: str
    text: str = ""


class _Message(BaseModel):
    model_config = ConfigDict(extra="allow")

    role: str
    content: str | list[_Part]

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

    messages: list[_Message]
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
