"""Untrusted text made harmless as markup: invisible characters leave, and control markup is broken up, never obeyed."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable
from itertools import accumulate

# Role and control markup of common chat formats, matched after folding, in any case.
CHAT_MARKUP = re.compile(
    r"<\|[^<>|\n]{0,60}\|>"  # ChatML <|im_start|>, Llama 3, Phi; folded: DeepSeek's full-width bars
    r"|</?s>|<(?:bos|eos|pad|unk)>"  # Llama 2, Mistral, Gemma
    r"|\[/?INST\]|<</?SYS>>"
    r"|\[/?(?:SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|TOOL_CONTENT|ARGS|THINK)\]"
    r"|<(?:start|end)_of_turn>"  # Gemma
    r"|</?(?:think|tool_call|tool_response)>",
    re.IGNORECASE,
)
# Each pass breaks every match up; a match within what is left of another needs one more.
_PASSES = 8


def strip_invisible(text: str) -> str:
    """`text` without Unicode format characters (category Cf).

    These are zero-width joiners and spaces, bidirectional controls and overrides, tag characters and soft hyphens:
    they hide markup from a pattern, or text from a reader, and a judge loses nothing without them.
    """
    return text if text.isascii() else "".join(c for c in text if unicodedata.category(c) != "Cf")


def literal_markup(spellings: Iterable[str]) -> re.Pattern[str] | None:
    """A pattern for `break_up` that matches each spelling, the longest first; None without any."""
    folded = sorted({"".join(_folded(s)) for s in spellings}, key=lambda s: (-len(s), s))
    return re.compile("|".join(map(re.escape, folded))) if folded else None


def break_up(text: str, markup: re.Pattern[str]) -> str:
    """`text` with a space after the first character of every match, so that it is no markup any more.

    Matches are looked for in the NFKC form, where full-width brackets are brackets (`markup` must be written in
    it); only what matches is changed.
    """
    for _ in range(_PASSES):
        broken = _break_once(text, markup)
        if broken == text:
            return text
        text = broken
    # Only markup that contains its own broken form gets here.
    return markup.sub(" ", text)


def cut_middle(text: str, characters: int, mark: str) -> str:
    """At most `characters` characters of `text` and the mark: its beginning, the mark, its end."""
    if len(text) <= characters:
        return text
    half = max((characters - len(mark)) // 2, 0)
    return text[:half] + mark + text[len(text) - half :]


def _folded(text: str) -> list[str]:
    """The NFKC form of each character."""
    return list(text) if text.isascii() else [unicodedata.normalize("NFKC", c) for c in text]


def _break_once(text: str, markup: re.Pattern[str]) -> str:
    pieces = _folded(text)
    # starts[i]: where character i begins in the folded text.
    starts = [0, *accumulate(map(len, pieces))]
    made: list[str] = []
    done = 0
    for found in markup.finditer("".join(pieces)):
        first = bisect_right(starts, found.start()) - 1
        last = bisect_right(starts, found.end() - 1) - 1
        # A match within one character cannot be broken up: the character goes.
        made += [text[done:first], "" if first == last else text[first], " "]
        done = first + 1
    return "".join(made) + text[done:]
