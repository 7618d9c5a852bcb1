"""Whether answers are English, as refusal rules need: by their letters and by common English words.

A rough check without a model. It tells English from other scripts, and from other languages in Latin letters, in texts
of a few words or more. It does not tell which language a text is in.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from actors.contract.records import Record

_WORD = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)?")
# The commonest English words that are not also common in other languages of Europe, and what refusals and advice say.
_COMMON = """
    the of and to that is it for was with as are be this have from or by not but what all were we when your can
    there use an each which she how their if will other about out many then them these some her would make like him
    into time has look more see could been who its now people than first you my they i'm i can't cannot don't won't
    it's sorry help should may please does do did yes take your with doctor no help because any also
"""
_ENGLISH = frozenset(_COMMON.split())
# Words that a text must have to be counted, and the least share of common English words in an English one.
LEAST_WORDS = 4
_ENGLISH_SHARE = 0.15
_LATIN_SHARE = 0.5


class LanguageShare(Record):
    """How many texts are not English, of those that are long enough to tell."""

    other: int
    n: int

    @property
    def mostly_other(self) -> bool:
        """Whether more than half of them are not English."""
        return 2 * self.other > self.n

    def __add__(self, more: LanguageShare) -> LanguageShare:
        return LanguageShare(other=self.other + more.other, n=self.n + more.n)


def language_share(texts: Iterable[str]) -> LanguageShare:
    """Count the texts that are not English."""
    told = [english for text in texts if (english := is_english(text)) is not None]
    return LanguageShare(other=told.count(False), n=len(told))


def is_english(text: str) -> bool | None:
    """Whether a text is English; None where it is too short to tell."""
    letters = [letter for letter in text[:2_000] if letter.isalpha()]
    latin = sum(letter.isascii() or unicodedata.name(letter, "").startswith("LATIN") for letter in letters)
    # Other scripts need no words: some write without spaces.
    if len(letters) >= 2 * LEAST_WORDS and latin < _LATIN_SHARE * len(letters):
        return False
    words = [word.lower().replace("\u2019", "'") for word in _WORD.findall(text[:2_000])]
    if len(words) < LEAST_WORDS:
        return None
    return sum(word in _ENGLISH for word in words) >= _ENGLISH_SHARE * len(words)
