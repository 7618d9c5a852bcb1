"""Shortening real answers to a few whole sentences, so that a tiny model can learn them."""

from __future__ import annotations

import re

# A full stop ends a sentence only before white space and a capital, a quote or a bracket.
_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"'(])")


def sentences(text: str) -> list[str]:
    """The sentences of a text, white space made plain."""
    return [part for part in _END.split(" ".join(text.split())) if part]


def first_sentences(text: str, most: int, max_words: int) -> str:
    """The first sentences of a text: at most `most`, and no more than fit in `max_words` words.

    The first is always there; where it alone is longer it is cut at `max_words`. A leading question that only
    repeats what was asked (as NIH answers begin) is left out when an answer follows it.
    """
    parts = sentences(text)
    if len(parts) > 1 and parts[0].endswith("?"):
        parts = parts[1:]
    chosen: list[str] = []
    words = 0
    for part in parts[:most]:
        words += len(part.split())
        if chosen and words > max_words:
            break
        chosen.append(part)
    kept = " ".join(chosen).split()
    return " ".join(kept) if len(kept) <= max_words else " ".join(kept[:max_words]).rstrip(",;:(") + "."
