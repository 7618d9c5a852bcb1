"""A live request as the challenger's engine is asked it: under its own chat template, drawn as vLLM's server would."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError

from actors.engine.chat import conversation_tokens
from actors.engine.port import Sampling
from actors.engine.sampling_defaults import SamplingDefaults
from actors.serve.shadow.records import LiveAnswer


@dataclass(frozen=True)
class EngineQuestion:
    """What an engine is asked."""

    tokens: list[int]
    sampling: Sampling


def questions(
    lives: Sequence[LiveAnswer], tokenizer: Any, defaults: SamplingDefaults, max_model_len: int
) -> Iterator[EngineQuestion | None]:
    """What the challenger is asked for each live answer; None where it cannot be: too long, or not for its template."""
    for live in lives:
        try:
            tokens = conversation_tokens(tokenizer, live.turns)
        except TemplateError:
            yield None
            continue
        asked = live.max_tokens if live.max_tokens is not None else defaults.max_new_tokens
        room = max_model_len - len(tokens)
        longest = min(most for most in (asked, live.limit, room) if most is not None)
        yield EngineQuestion(tokens, _sampling(live, defaults, longest)) if longest > 0 else None


def _sampling(live: LiveAnswer, defaults: SamplingDefaults, longest: int) -> Sampling:
    return Sampling(
        k=1,
        # vLLM's server draws with 1 where neither the request nor the model says.
        temperature=next(t for t in (live.temperature, defaults.temperature, 1.0) if t is not None),
        top_p=next(p for p in (live.top_p, defaults.top_p, 1.0) if p is not None),
        max_tokens=longest,
    )
