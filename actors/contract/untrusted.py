"""Untrusted text made harmless as markup: invisible characters leave, and control markup is broken up, never obeyed."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Any

# Where the middle of a text was cut away.
CUT_MARK = " [...] "
# Role and control markup of common chat formats, for where there is no tokenizer to ask; matched after folding. In any
# case, but for words in brackets that people write too.
CHAT_MARKUP = re.compile(
    # ChatML, Qwen, Llama 3 and 4, Phi, gpt-oss, Cohere, GLM, Granite, Kimi; folded: DeepSeek's full-width bars.
    r"<\|[^<>|\n]{0,60}\|>"
    # Gemma 4: <|turn> and <turn|>, <|channel> and <channel|>, <|tool_call> and <tool_call|>, <|"|>.
    r"|<\|[a-z_]{1,30}>|<[a-z_]{1,30}\|>"
    # Llama 2, Mistral, Gemma, and what many name alike.
    r"|</?s>|<(?:bos|eos|pad|unk|mask|cls|sep)>|<(?:bos|eos|eop|mask)_token>"
    r"|\[/?INST\]|<</?SYS>>"
    # Mistral up to v15.
    r"|\[/?(?:SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|TOOL_CONTENT|MODEL_SETTINGS|CALL_ID|ARGS|THINK)\]"
    r"|\[(?:IMG_BREAK|IMG_END|BEGIN_AUDIO|STREAMING_PAD|STREAMING_WORD|NEXT_AUDIO_TEXT|REPEAT_AUDIO_TEXT)\]"
    r"|(?-i:\[(?:IMG|AUDIO|PREFIX|MIDDLE|SUFFIX|TRANSCRIBE|MASK|PAD|UNK|CLS|SEP)\])"
    # Gemma up to 3 and T5.
    r"|<(?:start|end)_of_(?:turn|image|audio)>|<(?:start|end)_function_(?:call|response|declaration)>|<unused\d{1,4}>"
    r"|<extra_id_\d{1,4}>"
    # GLM.
    r"|\[[gs]MASK\]|<[se]op>"
    # EXAONE, MiniMax, Seed.
    r"|\[\|[^\[\]|\n]{0,60}\|\]|\]~!?b[\[\]]|\[e~\[|</?seed:[a-z_]{1,30}>"
    r"|</?(?:think|tools|tool_call|tool_calls|tool_response|arg_key|arg_value)>",
    re.IGNORECASE,
)
# Each pass breaks every match up; a match within what is left of another needs one more.
_PASSES = 8


def visible(text: str) -> str:
    """`text` with everything that could steer a terminal or hide in it written as an escape, as `\\x1b` or `\\u202e`.

    These are control characters (C0, C1 and DEL), format characters (bidirectional controls, zero width), line and
    paragraph separators, and what has no character at all. Line breaks and tabs stay.
    """
    if text.isprintable():
        return text
    return "".join(letter if _is_plain(letter) else letter.encode("unicode_escape").decode() for letter in text)


def _is_plain(letter: str) -> bool:
    return letter.isprintable() or letter in "\n\t" or unicodedata.category(letter) in ("Zs", "Co", "Cn")


def strip_invisible(text: str) -> str:
    """`text` without Unicode format characters (category Cf).

    These are zero-width joiners and spaces, bidirectional controls and overrides, tag characters and soft hyphens.
    They hide markup from a pattern, or text from a reader. A judge loses nothing without them.
    """
    return text if text.isascii() else "".join(c for c in text if unicodedata.category(c) != "Cf")


class ChatMarkup:
    """What is markup to a tokenizer, and to any other model that its model may have read about. Texts lose both."""

    def __init__(self, tokenizer: Any = None) -> None:
        """`tokenizer`: of the model that reads the text, where there is one at hand."""
        own = literal_markup(added_tokens(tokenizer)) if tokenizer is not None else None
        self._patterns = [pattern for pattern in (own, CHAT_MARKUP) if pattern is not None]

    def broken(self, text: str) -> str:
        """The text with every piece of markup broken up; without any it is left as it is."""
        for pattern in self._patterns:
            text = break_up(text, pattern)
        return text


def added_tokens(tokenizer: Any) -> set[str]:
    """Every token that a tokenizer finds in a text before it splits it, special or not.

    Single characters and runs of blanks, which some tokenizers add, are no markup.
    """
    added = {str(token) for token in tokenizer.get_added_vocab()} | set(tokenizer.all_special_tokens)
    return {token for token in added if len(token) > 1 and token.strip()}


def literal_markup(spellings: Iterable[str]) -> re.Pattern[str] | None:
    """A pattern for `break_up` that matches each spelling, the longest first; None without any."""
    folded = {"".join(_folded(spelling)) for spelling in spellings}
    return re.compile(_any_of(folded)) if folded else None


def _any_of(spellings: set[str]) -> str:
    """A pattern for the longest of these, as a tree of their letters.

    Some tokenizers add thousands of tokens, and a plain list of them would be tried to its end at every "<".
    """
    # What the first and the last in order share, all share.
    low, high = min(spellings), max(spellings)
    common = low[: next((i for i, letters in enumerate(zip(low, high, strict=False)) if len(set(letters)) > 1), None)]
    branches: defaultdict[str, set[str]] = defaultdict(set)
    for rest in (spelling[len(common) :] for spelling in spellings):
        branches[rest[:1]].add(rest)
    optional = "?" if branches.pop("", None) else ""
    if not branches:
        return re.escape(common)
    return f"{re.escape(common)}(?:{'|'.join(_any_of(branches[first]) for first in sorted(branches))}){optional}"


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


def cut_middle_tokens(tokenizer: Any, ids: Sequence[int], tokens: int) -> str:
    """About `tokens` ids of a longer text, at least two, as text: its beginning, the mark, its end.

    A cut inside a multi-byte character leaves replacement characters, which are dropped.
    """
    half = max(tokens // 2, 1)
    head, tail = (str(tokenizer.decode(part)).replace("\ufffd", "") for part in (ids[:half], ids[-half:]))
    return head + CUT_MARK + tail


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
