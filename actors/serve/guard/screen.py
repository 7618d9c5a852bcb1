"""Phrases that hold a request to be harmful: plain words in their order, and nothing cleverer than that.

What this cannot see: another wording, another language, a code, a request that is spread over what it does not say.
And it sees a phrase wherever it stands, in a warning or a quotation too. It is a floor, not a classifier.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from actors.contract.untrusted import strip_invisible

_WORD = re.compile(r"[^\W_]+")


class PhraseScreen:
    """Looks for phrases in requests, whatever their case, spaces, signs and invisible characters."""

    def __init__(self, phrases: Iterable[str]) -> None:
        self._phrases = tuple(words for phrase in phrases if (words := _words(phrase)).strip())

    def holds(self, request: str) -> bool:
        """Whether a request has one of the phrases in it."""
        words = _words(request)
        return any(phrase in words for phrase in self._phrases)


def _words(text: str) -> str:
    """The words of a text, folded, each between single spaces."""
    folded = unicodedata.normalize("NFKC", strip_invisible(text)).casefold()
    return f" {' '.join(_WORD.findall(folded))} "
