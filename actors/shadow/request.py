"""Which live requests a challenger can be asked the same way, and which of them it is asked."""

from __future__ import annotations

from typing import Any

from pydantic import ConfigDict

from actors.feedback.exchange import ChatRequest
from actors.seeds import derive_seed

_DRAWS = 2**31
# Fields that leave an answer what it is, whatever they say.
_WITHOUT_EFFECT = frozenset(
    {
        "model", "stream", "stream_options", "user", "metadata", "safety_identifier", "n", "seed", "logprobs",
        "top_logprobs", "return_token_ids", "request_id", "priority", "service_tier", "prompt_cache_key",
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
    "logit_bias": ({},),
}


class ShadowedRequest(ChatRequest):
    """What is read of a request that a challenger may be asked too."""

    model_config = ConfigDict(extra="allow")

    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None

    @property
    def longest(self) -> int | None:
        """The longest answer it asks for, in tokens; the newer name counts."""
        return self.max_completion_tokens if self.max_completion_tokens is not None else self.max_tokens

    @property
    def repeatable(self) -> bool:
        """Whether all that shapes its answer is known here: a tool or a format would make two answers incomparable."""
        others = (self.model_extra or {}).items()
        return all(
            value is None or name in _WITHOUT_EFFECT or value in _NEUTRAL.get(name, ()) for name, value in others
        )


def drawn(answer_id: str, share: float, seed: int) -> bool:
    """Whether an answer is among the `share`; the same on every replica and every day."""
    return derive_seed(seed, "shadow", answer_id) < share * _DRAWS
