"""How many tokens an answer took, by what its `usage` says; looked at when the answer has been sent."""

from __future__ import annotations

from typing import NamedTuple

from pydantic_core import from_json

# Longer answers go uncounted rather than be kept twice.
LONGEST_JSON = 64 * 1024
LONGEST_EVENT = 8 * 1024
_END = b"data: [DONE]"


class TokenCount(NamedTuple):
    """Tokens of one request; None where the answer does not say, as a stream without `include_usage`."""

    prompt: int | None = None
    completion: int | None = None


NOT_SAID = TokenCount()


class AnswerTail:
    """Keeps what an answer's usage can be read from: a short JSON body, or the last event of a stream."""

    __slots__ = ("_kept", "_streamed")

    def __init__(self, streamed: bool) -> None:
        self._streamed = streamed
        self._kept = b""

    def see(self, part: bytes) -> None:
        """Take notice of one part of the body; of a stream, one that is more than the end mark replaces the last."""
        if not self._streamed:
            # One too long stays too long, whatever follows.
            self._kept = self._kept + part if len(self._kept) <= LONGEST_JSON else self._kept
        elif part and not part.startswith(_END):
            self._kept = part

    def count(self) -> TokenCount:
        """The tokens, as the server counted them."""
        if self._streamed:
            return _of_json(_last_event(self._kept)) if len(self._kept) <= LONGEST_EVENT else NOT_SAID
        return _of_json(self._kept) if len(self._kept) <= LONGEST_JSON else NOT_SAID


def _last_event(part: bytes) -> bytes:
    events = [line[len(b"data: ") :] for line in part.splitlines() if line.startswith(b"data: {")]
    return events[-1] if events else b""


def _of_json(text: bytes) -> TokenCount:
    if b'"usage"' not in text:
        return NOT_SAID
    try:
        answer = from_json(text)
    except ValueError:
        return NOT_SAID
    usage = answer.get("usage") if isinstance(answer, dict) else None
    if not isinstance(usage, dict):
        return NOT_SAID
    return TokenCount(_count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens")))


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and value >= 0 else None
