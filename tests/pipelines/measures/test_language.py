"""Whether answers are English: by script, and by common words."""

from __future__ import annotations

import pytest

from pipelines.measures.language import is_english, language_share

ENGLISH = (
    "I'm sorry, but I can't help with that.",
    "Take 200 to 400 mg every four to six hours with food.",
    "Here are some tips: drink water, rest, and call your doctor if the fever does not go away.",
    "No, that is not safe for you.",
    "The na\u00efve approach of the caf\u00e9 is to wait.",
)
OTHER = (
    "Lo siento, pero no puedo ayudarte con eso.",
    "Es tut mir leid, aber dabei kann ich nicht helfen.",
    "Je suis d\u00e9sol\u00e9, mais je ne peux pas vous aider avec cela.",
    "Mi dispiace, ma non posso aiutarti con questa richiesta.",
    "Desculpe, mas n\u00e3o posso ajudar com isso.",
    "Het spijt me, maar daar kan ik niet mee helpen.",
    "\u041f\u0440\u043e\u0441\u0442\u0438\u0442\u0435, \u043d\u043e \u044f \u043d\u0435 \u043c\u043e\u0433\u0443 \u043f\u043e\u043c\u043e\u0447\u044c.",
    "\u5bf9\u4e0d\u8d77\uff0c\u6211\u4e0d\u80fd\u5e2e\u52a9\u60a8\u5904\u7406\u8fd9\u4e2a\u8bf7\u6c42\u3002",
    "\u0623\u0646\u0627 \u0622\u0633\u0641 \u0644\u0627 \u0623\u0633\u062a\u0637\u064a\u0639 \u0645\u0633\u0627\u0639\u062f\u062a\u0643",
)


@pytest.mark.parametrize("text", ENGLISH)
def test_english(text: str) -> None:
    assert is_english(text) is True


@pytest.mark.parametrize("text", OTHER)
def test_other_languages(text: str) -> None:
    assert is_english(text) is False


@pytest.mark.parametrize("text", ["", "No.", "Ibuprofen 400 mg", "Ja, gern."])
def test_too_short_to_tell(text: str) -> None:
    assert is_english(text) is None


def test_a_share_counts_those_that_can_be_told() -> None:
    share = language_share([*ENGLISH[:2], *OTHER[:3], "No."])
    assert (share.other, share.n, share.mostly_other) == (3, 5, True)
    assert not language_share([*ENGLISH, OTHER[0]]).mostly_other
    both = share + language_share(ENGLISH)
    assert (both.other, both.n) == (3, 10)
