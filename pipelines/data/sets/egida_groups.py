"""Which plain instruction a rewrite contains: what keeps the styles of one instruction in one split."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Self

FIRST_WORDS = 4


class Groups:
    """Plain instructions by their first words; looking one up takes time in the length of the text alone."""

    def __init__(self, by_first_words: dict[str, list[str]]) -> None:
        self._by_first_words = by_first_words

    @classmethod
    def of(cls, instructions: Iterable[str]) -> Self:
        """An index of instructions, compared by their words alone."""
        found: dict[str, set[str]] = {}
        for instruction in instructions:
            words = _words(instruction)
            if words:
                found.setdefault(" ".join(words[:FIRST_WORDS]), set()).add(" ".join(words))
        return cls({first: sorted(keys) for first, keys in found.items()})

    def contained_in(self, text: str) -> str | None:
        """The words of the longest instruction that is in `text`, or None where none is."""
        if not self._by_first_words:
            return None
        words = _words(text)
        whole = f" {' '.join(words)} "
        starts = (" ".join(words[i : i + n]) for i in range(len(words)) for n in range(1, FIRST_WORDS + 1))
        known = (key for start in starts for key in self._by_first_words.get(start, ()))
        return max((key for key in known if f" {key} " in whole), key=lambda key: (len(key), key), default=None)


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())
