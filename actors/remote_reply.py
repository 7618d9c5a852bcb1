"""What an OpenAI-compatible server replied: label probabilities of the first token, or one word, or nothing usable."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from actors.records import LABELS, Label

# CARES's own judge says Reject in its examples where the label is Refuse.
WORDS: dict[str, Label] = {**{label.casefold(): label for label in LABELS}, "reject": "Refuse"}
# One letter says too little of a word. Characters.
_SHORTEST_PREFIX = 2
# How byte-level and sentencepiece tokenizers spell the space before a word.
_SPACES = " \t\r\n\u0120\u2581"

Floats = npt.NDArray[np.float64]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class TopToken(_Part):
    """One likely first token and its log-probability."""

    token: str
    # Servers round; NaN is refused by the comparison.
    logprob: float = Field(le=0.01)


class _Position(_Part):
    top_logprobs: list[TopToken] = []


class _Logprobs(_Part):
    content: list[_Position] | None = None


class _Message(_Part):
    content: str | None = None


class _Choice(_Part):
    message: _Message
    logprobs: _Logprobs | None = None


class TokenCounts(_Part):
    """Tokens as the server counted them."""

    prompt_tokens: int = 0
    completion_tokens: int = 0


class Reply(_Part):
    """The parts of a chat completion that a judge looks at."""

    choices: list[_Choice] = Field(min_length=1)
    usage: TokenCounts | None = None


def read_reply(reply: Reply) -> tuple[Floats, float]:
    """Label probabilities, shape (3,), summing to 1, and coverage.

    Without log-probabilities the whole reply must be one label, or the coverage is 0: missing, never a guess.
    """
    first = reply.choices[0]
    positions = first.logprobs.content if first.logprobs is not None else None
    if positions and positions[0].top_logprobs:
        mass = label_mass(positions[0].top_logprobs)
    else:
        mass = _word_mass(first.message.content)
    total = float(mass.sum())
    if total <= 0:
        return no_label()
    return mass / total, min(total, 1.0)


def no_label() -> tuple[Floats, float]:
    """No label is likelier than another, and none was given."""
    return np.full(len(LABELS), 1 / len(LABELS)), 0.0


def label_mass(top: Sequence[TopToken]) -> Floats:
    """Probability of the tokens each label may begin with, shape (3,)."""
    mass = np.zeros(len(LABELS))
    for entry in top:
        label = label_of_token(entry.token)
        if label is not None:
            mass[LABELS.index(label)] += math.exp(entry.logprob)
    return mass


def label_of_token(token: str) -> Label | None:
    """The one label that `token` is or begins; None where there is none, or more than one."""
    word = token.strip(_SPACES).casefold()
    if len(word) < _SHORTEST_PREFIX:
        return None
    found = {label for spelled, label in WORDS.items() if spelled.startswith(word)}
    return found.pop() if len(found) == 1 else None


def _word_mass(content: str | None) -> Floats:
    label = WORDS.get((content or "").strip().casefold())
    return np.array([float(label == known) for known in LABELS])
