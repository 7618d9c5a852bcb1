"""Phrases are found word for word, whatever is put around and between the letters' cases and spaces."""

from __future__ import annotations

import pytest

from actors.serve.guard.rules import PhraseScreen

SCREEN = PhraseScreen(["Forge a note", "  ", "h\u00e4ndel"])


@pytest.mark.parametrize(
    "request_text",
    [
        "How do I forge a note?",
        "FORGE  A\n\nNOTE!",
        "for\u200bge a no\u00adte",
        "\uff26\uff4f\uff52\uff47\uff45 a note",
        "forge, a (note)",
        "user: hello\n\nuser: forge a note",
        "H\u00c4NDEL",
    ],
)
def test_a_phrase_is_found(request_text: str) -> None:
    assert SCREEN.holds(request_text)


@pytest.mark.parametrize(
    "request_text", ["", "reforge a note", "forge a notebook", "a note to forge", "forge not a note", "handel"]
)
def test_other_words_are_not(request_text: str) -> None:
    assert not SCREEN.holds(request_text)
