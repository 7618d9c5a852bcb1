"""What an OpenAI-compatible server replied: word probabilities of the first token, or one word, or nothing usable."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from actors.contract.records import LABELS

# How each word that may be replied is spelled, in lower case, and the place of what it stands for.
Spellings = Mapping[str, int]


def spellings(words: Sequence[str]) -> Spellings:
    """Each word by its own name."""
    return {word.casefold(): place for place, word in enumerate(words)}


# CARES's own judge says Reject in its examples where the label is Refuse.
LABEL_SPELLINGS: Spellings = {**spellings(LABELS), "reject": LABELS.index("Refuse")}
# One letter says too little of a longer word. Characters.
_SHORTEST_PREFIX = 2
# How byte-level and sentencepiece tokenizers spell the space before a word, and what may be set around one.
_AROUND = " \t\r\n\u0120\u2581*_`'\".,:;!\u201c\u201d()[]"
# A thought before the reply ends so.
_THOUGHT_END = "</think>"

Floats = npt.NDArray[np.float64]


class _ReplyPart(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class TopToken(_ReplyPart):
    """One likely first token and its log-probability."""

    token: str
    # Servers round; NaN is refused by the comparison.
    logprob: float = Field(le=0.01)


class _Position(_ReplyPart):
    top_logprobs: list[TopToken] = []


class _Logprobs(_ReplyPart):
    content: list[_Position] | None = None


class _ReplyMessage(_ReplyPart):
    content: str | None = None


class _Choice(_ReplyPart):
    message: _ReplyMessage
    logprobs: _Logprobs | None = None


class TokenCounts(_ReplyPart):
    """Tokens as the server counted them."""

    prompt_tokens: int = 0
    completion_tokens: int = 0


class ServerReply(_ReplyPart):
    """The parts of a chat completion that a judge looks at."""

    choices: list[_Choice] = Field(min_length=1)
    usage: TokenCounts | None = None


def read_reply(reply: ServerReply, spelled: Spellings) -> tuple[Floats, float]:
    """Probabilities of the words, shape (words,), summing to 1, and coverage.

    Without log-probabilities the whole reply must be one of the words, or the coverage is 0: missing, never a guess. A
    thought before it, and marks around it as in "**Refuse**.", are not counted.
    """
    first = reply.choices[0]
    positions = first.logprobs.content if first.logprobs is not None else None
    if positions and positions[0].top_logprobs:
        mass = word_mass(positions[0].top_logprobs, spelled)
    else:
        mass = np.zeros(places(spelled))
        said = (first.message.content or "").rpartition(_THOUGHT_END)[2]
        place = spelled.get(said.strip(_AROUND).casefold())
        if place is not None:
            mass[place] = 1.0
    total = float(mass.sum())
    if total <= 0:
        return no_word(spelled)
    return mass / total, min(total, 1.0)


def places(spelled: Spellings) -> int:
    """How many words there are, each counted once however it may be spelled."""
    return len(set(spelled.values()))


def no_word(spelled: Spellings) -> tuple[Floats, float]:
    """No word is likelier than another, and none was given."""
    count = places(spelled)
    return np.full(count, 1 / count), 0.0


def word_mass(top: Sequence[TopToken], spelled: Spellings) -> Floats:
    """Probability of the tokens each word may begin with, shape (words,)."""
    mass = np.zeros(places(spelled))
    for entry in top:
        place = place_of_token(entry.token, spelled)
        if place is not None:
            mass[place] += math.exp(entry.logprob)
    return mass


def place_of_token(token: str, spelled: Spellings) -> int | None:
    """The place of the one word that `token` is or begins; None where there is none, or more than one."""
    word = token.strip(_AROUND).casefold()
    if word in spelled:
        return spelled[word]
    if len(word) < _SHORTEST_PREFIX:
        return None
    found = {place for spelling, place in spelled.items() if spelling.startswith(word)}
    return found.pop() if len(found) == 1 else None
