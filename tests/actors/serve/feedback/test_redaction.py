"""Redaction: what has a form goes, doses stay, and what was left is left again."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from actors.errors import SalusError
from actors.serve.feedback.config import FeedbackConfig
from actors.serve.feedback.redaction import _FORMS, _NAMED, MARK, NotRedacted, RuleRedactor, until_settled
from actors.serve.feedback.redactors import PresidioRedactor, load_redactor
from tests.linear_time import LONG, MOST_S, assert_linear, slow_texts

RULES = RuleRedactor()


def upper_hook(text: str) -> str:
    return text.upper()


def broken_hook(text: str) -> int:
    return len(text)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("seen on 2024-03-05 and 5.3.2024", "seen on [DATE] and [DATE]"),
        ("at 2024-03-05T10:15:00Z", "at [DATE]"),
        ("born 3rd of May 1950, admitted March 5, 2024", "born [DATE], admitted [DATE]"),
        ("since January 2020", "since [DATE]"),
        ("call +44 20 7946 0958 or (020) 7946 0958", "call [PHONE] or [PHONE]"),
        ("call 555-123-4567, 0171 2345678", "call [PHONE], [PHONE]"),
        ("mail anne.smith@ward-3.example.org now", "mail [EMAIL] now"),
        ("see https://x.example/a?b=1 or www.y.example", "see [URL] or [URL]"),
        ("MRN: 00123456, chart no. A-4711", "[ID], [ID]"),
        ("SSN 123-45-6789", "[ID]"),
        ("number 78901234 and AB1234567", "number [NUMBER] and [ID]"),
        ("lives in SW1A 1AA or NY 10001", "lives in [POSTCODE] or [POSTCODE]"),
        ("Dr. Anne O'Hara and Mrs Jones said", "Dr. [NAME] and Mrs [NAME] said"),
        ("Hi, my name is anna Berg and I", "Hi, my name is [NAME] and I"),
        ("I am Dr Weiß", "I am Dr [NAME]"),
        ("Patient: Jan de Boer", "Patient: Jan de Boer"),
        ("Patient: Anna Maria Berg", "Patient: [NAME]"),
    ],
)
def test_what_has_a_form_becomes_a_mark(text: str, kept: str) -> None:
    assert RULES.redact(text) == kept


@pytest.mark.parametrize(
    "text",
    [
        "Take 500 mg twice a day, at most 4000 mg.",
        "Blood pressure 120/80, pulse 72, 36.6 degrees, INR 2-3.",
        "1200000 IU of penicillin, 150000 cells per field.",
        "This may 2 or 3 times cause harm; in 5 may be fewer.",
        "Type 2 diabetes for 10-20 years, HbA1c 7.5 %, score 3 of 15.",
        "In case 1000 mg is too much, record 500 ml a day.",
        "Vitamin B12 and D3, ICD E11.9, stage IIb.",
    ],
)
def test_doses_and_values_stay(text: str) -> None:
    assert RULES.redact(text) == text


def test_a_name_without_a_form_is_missed_as_the_docstring_says() -> None:
    assert RULES.redact("Anna Berg has a fever") == "Anna Berg has a fever"


PIECES = st.one_of(
    st.text(max_size=12),
    st.sampled_from(["[DATE]", "[NAME]", "Dr ", "my name is ", "MRN", ": ", "+", "(", ")", "@", ".", "-", "/", "\n"]),
    st.from_regex(r"\d{1,8}", fullmatch=True),
    st.sampled_from(["12.3.2024", "5 May 2024", "a@b.co", "www.x.y", "SW1A 1AA", "Anna", "O\u2019Hara", "Patient"]),
)


@settings(max_examples=50, deadline=None)
@given(st.lists(PIECES, max_size=12).map("".join))
@example("12345678 mg[DATE]9")
@example("my name is my name is Anna")
def test_what_was_left_is_left_again(text: str) -> None:
    once = RULES.redact(text)
    assert RULES.redact(once) == once


FORMS = st.one_of(
    st.dates().map(lambda d: f"{d.day:02d}/{d.month:02d}/{d.year:04d}"),
    st.dates().map(lambda d: d.isoformat()),
    st.from_regex(r"[a-z]{1,8}\.[a-z]{1,8}@[a-z]{1,8}\.(com|org)", fullmatch=True),
    st.from_regex(r"[1-9][0-9]{5,14}", fullmatch=True),
    st.from_regex(r"\+[1-9][0-9]{1,2} [1-9][0-9]{2} [0-9]{6}", fullmatch=True),
    st.from_regex(r"https://[a-z]{1,9}\.example/[a-z0-9]{0,9}", fullmatch=True),
    st.from_regex(r"Mrs [A-Z][a-z]{1,9}", fullmatch=True),
)
# No unit: a number before one is a dose.
WORDS = st.sampled_from(["the", "patient", "took", "500", "twice", "and", "slept", "well,", "then", "2", "times."])


@given(st.lists(st.one_of(FORMS, WORDS), min_size=1, max_size=10))
def test_no_form_outlives_it_and_every_plain_word_does(words: list[str]) -> None:
    left = RULES.redact(" ".join(words))
    for word in words:
        if re.fullmatch(r"[a-z]+[,.]?", word):
            assert word in left
        elif len(word) > 3:
            assert word not in left


@given(st.text(max_size=300))
def test_it_ends_for_any_text(text: str) -> None:
    assert isinstance(RULES.redact(text), str)


@pytest.mark.parametrize("form", [*(form for _, form in _FORMS), *_NAMED, MARK], ids=lambda form: form.pattern[-40:])
def test_no_rule_is_slow_on_long_texts_of_its_own_words_and_signs(form: re.Pattern[str]) -> None:
    assert_linear(lambda text: form.sub("", text), form)


def test_all_rules_together_are_not_slow_either() -> None:
    pieces = ["+1 ", "a.", "1-", "Dr A", "my name is ", "1.1.", "[DATE", "x@y.", "(11)", "www.", "case ", "MRN 1 "]
    texts = [piece * (LONG // len(piece)) for piece in pieces]
    assert slow_texts(RULES.redact, [*texts, "mrn" + " " * LONG + "x"], 5 * MOST_S) == []


def test_a_text_that_never_settles_is_not_kept() -> None:
    with pytest.raises(NotRedacted, match="still changes after 16 passes"):
        until_settled(lambda text: f"{text}.", "secret")


@pytest.mark.parametrize(
    "gap", ["", " ", ": ", " : ", "     :   ", " #", "." + " " * 40, "\t#\t", " no. ", " NUMBER:# "]
)
def test_a_number_behind_its_word_is_found_however_far_away(gap: str) -> None:
    assert RULES.redact(f"chart{gap or ' '}A-47110 x") == "[ID] x"


@dataclass(frozen=True)
class Stretch:
    start: int
    end: int
    entity_type: str


class WordAnalyzer:
    """Finds given words, as Presidio's engine would name what it found."""

    def __init__(self, **words: str) -> None:
        self._words = words

    def analyze(self, text: str, language: str) -> Iterable[Stretch]:
        assert language == "en"
        for word, kind in self._words.items():
            yield from (Stretch(m.start(), m.end(), kind) for m in re.finditer(word, text))


def test_presidios_findings_become_marks_and_the_rules_follow() -> None:
    redactor = PresidioRedactor(WordAnalyzer(Anna="PERSON", Berg="PERSON", Bergen="LOCATION", DATE="PERSON"), "en")
    text = "Anna of Bergen, 2024-01-02, Mrs Lind"
    left = redactor.redact(text)
    assert left == "[PERSON] of [LOCATION], [DATE], Mrs [NAME]"
    assert redactor.redact(left) == left and all(MARK.fullmatch(m) for m in re.findall(r"\[\w+\]", left))


def test_the_configuration_names_the_redactor() -> None:
    assert isinstance(load_redactor(FeedbackConfig()), RuleRedactor)
    hook = load_redactor(FeedbackConfig(redactor=f"{__name__}:upper_hook"))
    assert hook.redact("abc") == "ABC"


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("nonsense", "none of rules and presidio"),
        ("no.such.module:f", "is not found"),
        ("json:no_such_function", "is not found"),
        ("json:decoder", "is no function"),
    ],
)
def test_a_redactor_that_is_not_there_is_a_sentence(name: str, sentence: str) -> None:
    with pytest.raises(SalusError, match=sentence):
        load_redactor(FeedbackConfig(redactor=name))


def test_presidio_that_is_not_installed_is_a_sentence() -> None:
    try:
        import presidio_analyzer  # type: ignore[import-not-found]  # noqa: F401
    except ImportError:
        with pytest.raises(SalusError, match="install presidio-analyzer"):
            load_redactor(FeedbackConfig(redactor="presidio"))
    else:
        pytest.skip("Presidio is installed here")


def test_a_hook_that_gives_no_text_is_a_sentence() -> None:
    with pytest.raises(SalusError, match="gave int for a text"):
        load_redactor(FeedbackConfig(redactor=f"{__name__}:broken_hook")).redact("abc")
