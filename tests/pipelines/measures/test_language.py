"""Whether answers are English: by script, and by common words."""

from __future__ import annotations

import pytest

from pipelines.measures.language import is_english, language_share

ENGLISH = (
    "I'm sorry, but I can't help with that.",
    "Take 200 to 400 mg every four to six hours with food.",
    "Here are some tips: drink water, rest, and call your doctor if the fever does not go away.",
    "No, that is not safe for you.",
    "The naïve approach of the café is to wait.",
)
OTHER = (
    "Lo siento, pero no puedo ayudarte con eso.",
    "Es tut mir leid, aber dabei kann ich nicht helfen.",
    "Je suis désolé, mais je ne peux pas vous aider avec cela.",
    "Mi dispiace, ma non posso aiutarti con questa richiesta.",
    "Desculpe, mas não posso ajudar com isso.",
    "Het spijt me, maar daar kan ik niet mee helpen.",
    "Простите, но я не могу помочь.",
    "对不起 我不能帮助您处理这个请求",
    "أنا آسف لا أستطيع مساعدتك",
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
