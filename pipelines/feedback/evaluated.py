"""Whether a prompt of feedback is one the run is evaluated on: as it is, within a longer one, or redacted.

What a policy is measured on must not be trained on, and a client may have asked the endpoint just that.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from actors.contract.untrusted import strip_invisible
from actors.serve.feedback.redaction import MARK
from pipelines.data.split import group_key

# An evaluated prompt of fewer words says too little to be recognised within another.
_WORDS = 4


class EvaluatedPrompts:
    """The prompts a run is measured on; `keys` are as `pipelines.data.split.group_key` makes them."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._keys = frozenset(keys)
        self._by_start: defaultdict[tuple[str, ...], list[tuple[str, ...]]] = defaultdict(list)
        for key in sorted(self._keys):
            words = _words(key)
            if len(words) >= _WORDS:
                self._by_start[words[:_WORDS]].append(words)

    def holds(self, prompt: str) -> bool:
        """Whether a prompt is one of them, has one in it, or may be one of which something was taken out."""
        text = strip_invisible(prompt)
        return group_key(text) in self._keys or self._within(text) or self._redacted(text)

    def _within(self, text: str) -> bool:
        words = _words(group_key(text))
        return any(
            words[i : i + len(found)] == found
            for i in range(len(words) - _WORDS + 1)
            for found in self._by_start.get(words[i : i + _WORDS], ())
        )

    def _redacted(self, text: str) -> bool:
        pieces = [group_key(piece) for piece in MARK.split(text)]
        return len(pieces) > 1 and any(_fits(pieces, key) for key in self._keys)


def _words(key: str) -> tuple[str, ...]:
    """The words of a key, without the signs around them."""
    return tuple(stripped for word in key.split() if (stripped := word.strip(".,;:!?\"'()[]")))


def _fits(pieces: list[str], key: str) -> bool:
    """Whether a text is these pieces in their order, from its first to its last letter, with anything in between."""
    first, *middle, last = pieces
    if len(first) + len(last) > len(key) or not (key.startswith(first) and key.endswith(last)):
        return False
    at, end = len(first), len(key) - len(last)
    for piece in middle:
        found = key.find(piece, at, end)
        if found < 0:
            return False
        at = found + len(piece)
    return True
