"""Long texts that could make a pattern slow, made of its own words and signs, and a bound on the time they take."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator

# Characters of the longest texts, and the seconds of this process that reading one may take.
LONG = 200_000
MOST_S = 1.0
# The same for the texts of which there are many.
SHORT = 5_000
MOST_SHORT_S = 0.15
# One of each kind that classes of characters are about.
_KINDS = (" ", "\t", "\n", "1", "a", "A", "_", "-", ".", "\u00e9", "\u3000")
# What a match may have read before it meets a long run.
_BEGINNINGS = ("2024-03-05T10:15:00.", "Patient: A", "mrn no ", "3rd of ", "a@b.", "www.", "Dr. A ", "(020) ", "<|a")
_ESCAPE = re.compile(r"\\[a-zA-Z]|\(\?[a-zA-Z:=!<>]*|\{[\d,]+\}")
_WORDS = re.compile(r"[^\W_]+(?: [^\W_]+)*")


def signs(pattern: re.Pattern[str]) -> tuple[str, ...]:
    """The signs that a pattern mentions, and a character of each kind."""
    mentioned = {letter for letter in _plain(pattern) if not letter.isalnum()}
    return tuple(sorted(mentioned | set(_KINDS)))


def words(pattern: re.Pattern[str]) -> tuple[str, ...]:
    """The words that a pattern mentions, as they may begin a match."""
    return tuple(sorted(set(_WORDS.findall(_plain(pattern)))))


def hard_texts(pattern: re.Pattern[str], length: int) -> Iterator[str]:
    """Long runs of each pair of signs, and of each sign behind what a match may begin with."""
    known = signs(pattern)
    for sign in known:
        for other in known:
            yield (sign + other) * (length // 2)
            # A run may have to end in another letter.
            yield sign * (length // 2) + other * (length // 2) + "x"
    for beginning in (*words(pattern), *_BEGINNINGS):
        for sign in known:
            yield beginning + sign * length + "x"
            yield (beginning + sign) * (length // (len(beginning) + 1))


def runs(pattern: re.Pattern[str], length: int) -> Iterator[str]:
    """A long run of each sign."""
    for sign in signs(pattern):
        yield sign * length
        yield sign * length + "x"


def slow_texts(read: Callable[[str], object], texts: Iterable[str], most_s: float) -> list[str]:
    """The texts, by their beginnings, that take longer than `most_s` seconds of this process to read."""
    slow: list[str] = []
    for text in texts:
        begun = time.process_time()
        read(text)
        taken = time.process_time() - begun
        if taken > most_s:
            slow.append(f"{text[:30]!r}..., {len(text)} characters: {taken:.2f} s")
            # One that is slow has many like it.
            break
    return slow


def assert_linear(read: Callable[[str], object], pattern: re.Pattern[str]) -> None:
    """That reading takes no time to speak of, whatever is repeated: what is quadratic is far beyond these bounds."""
    assert slow_texts(read, hard_texts(pattern, SHORT), MOST_SHORT_S) == []
    assert slow_texts(read, runs(pattern, LONG), MOST_S) == []


def _plain(pattern: re.Pattern[str]) -> str:
    """The pattern without its escapes and group marks, which are no text."""
    return _ESCAPE.sub(" ", pattern.pattern)
