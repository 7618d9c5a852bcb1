"""A live request as the challenger's engine is asked it: under its own chat template, drawn as vLLM's server would."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import TemplateError
from pydantic import BaseModel, ValidationError

from actors.engine.chat import conversation_tokens
from actors.engine.port import Sampling
from actors.errors import SalusError
from actors.serve.shadow.records import LiveAnswer

# What a model's own defaults may also set, with values that change nothing.
_NOT_FOLLOWED: dict[str, tuple[float, ...]] = {"top_k": (0, -1), "min_p": (0,), "repetition_penalty": (1,)}


class ModelDefaults(BaseModel):
    """How a model's answers are drawn where a request does not say: its `generation_config.json`."""

    temperature: float = 1.0
    top_p: float = 1.0
    max_new_tokens: int | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None

    @property
    def not_followed(self) -> tuple[str, ...]:
        """Settings that live answers are drawn with, and a challenger's are not."""
        return tuple(name for name, neutral in _NOT_FOLLOWED.items() if getattr(self, name) not in (None, *neutral))


@dataclass(frozen=True)
class EngineQuestion:
    """What an engine is asked."""

    tokens: list[int]
    sampling: Sampling


def model_defaults(folder: Path) -> ModelDefaults:
    """The defaults of a model folder; where it names none, those of vLLM's server.

    Raises:
        SalusError: its `generation_config.json` is none.
    """
    path = folder / "generation_config.json"
    if not path.is_file():
        return ModelDefaults()
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return ModelDefaults.model_validate({name: value for name, value in found.items() if value is not None})
    except (OSError, ValueError, AttributeError, ValidationError) as error:
        raise SalusError(
            f"{path} is no generation config ({type(error).__name__}); take it from a copy, or remove it."
        ) from error


def questions(
    lives: Sequence[LiveAnswer], tokenizer: Any, defaults: ModelDefaults, max_model_len: int
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


def _sampling(live: LiveAnswer, defaults: ModelDefaults, longest: int) -> Sampling:
    return Sampling(
        k=1,
        temperature=live.temperature if live.temperature is not None else defaults.temperature,
        top_p=live.top_p if live.top_p is not None else defaults.top_p,
        max_tokens=longest,
    )
