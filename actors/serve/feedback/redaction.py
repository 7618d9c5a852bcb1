"""Names, dates and numbers that point at a person, taken out of a text by rules and replaced by marks such as [DATE].

Rules see what has a form: dates, telephone and record numbers, e-mail, addresses on the web, postcodes, names behind a
title or "my name is". A name in the middle of a sentence has no form, and **rules miss it**. They also miss nicknames,
street names, rare diagnoses and dates in words. Use a model (`presidio`) or your own function where that matters.
Doses and laboratory values stay: they are what the answers are about.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Protocol

from actors.errors import SalusError

# What replaces something taken out.
MARK = re.compile(r"\[[A-Z][A-Z_]*\]")

# No match begins or ends within a word or a number.
_B, _E = r"(?<![^\W_])", r"(?![^\W_])"
# In small letters "may" and "march" are verbs.
_MONTH = (
    r"(?:(?i:jan(?:uary)?|feb(?:ruary)?|apr(?:il)?|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?"
    r"|nov(?:ember)?|dec(?:ember)?)|Mar(?:ch)?|May|MAR(?:CH)?|MAY)"
)
_DAY = r"\d{1,2}(?:st|nd|rd|th)?"
# Both apostrophes.
_IN_NAME = r"[\w'\u2019-]*"
_NAME_WORD = rf"[A-ZÀ-ÖØ-Þ]{_IN_NAME}"
_NAMES = rf"{_NAME_WORD}(?:[ \t]+{_NAME_WORD}){{0,2}}"
_NO_UNIT = r"(?!\s?(?i:iu|units?|mg|mcg|µg|g|kg|ml|l|mmol|cells|copies|kcal|steps)\b)"  # noqa: RUF001
_HEADED = r"(?i:mrn|nhs|ssn|nhi|patient id|record|chart|case|insurance|policy|passport|licen[cs]e)"

# Applied in this order.
_FORMS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (f"[{mark}]", re.compile(form))
    for mark, form in (
        ("URL", r"(?:https?://|www\.)[^\s\[\]<>\"]+"),
        ("EMAIL", r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}" + _E),
        ("DATE", rf"{_B}\d{{4}}-\d{{1,2}}-\d{{1,2}}(?:[tT ]\d{{1,2}}:\d{{2}}(?::\d{{2}})?(?:\.\d+)?[zZ]?)?{_E}"),
        ("DATE", rf"{_B}\d{{1,2}}([./-])\d{{1,2}}\1(?:\d{{4}}|\d{{2}}){_E}"),
        ("DATE", rf"{_B}\d{{4}}([./])\d{{1,2}}\1\d{{1,2}}{_E}"),
        ("DATE", rf"{_B}{_DAY}[ \t]+(?:of[ \t]+)?{_MONTH}\.?(?:,?[ \t]+\d{{4}})?{_E}"),
        ("DATE", rf"{_B}{_MONTH}\.?[ \t]+(?:{_DAY}(?:,?[ \t]+\d{{4}})?|\d{{4}}){_E}"),
        # A word that announces a number, and something with a digit in it.
        (
            "ID",
            # Possessive: two runs of blanks with nothing between them would be tried against each other.
            rf"{_B}{_HEADED}(?i:[ \t]++(?:no|number|num|id))?[ \t]*+(?:[.:#]{{1,2}}[ \t]*+)?#?(?=[A-Za-z-]{{0,6}}\d)"
            rf"[A-Za-z0-9-]{{5,24}}{_E}",
        ),
        ("ID", rf"{_B}[A-Za-z]{{1,12}}-?\d{{5,}}{_E}"),
        ("NUMBER", rf"{_B}\d{{3}}-\d{{2}}-\d{{4}}{_E}"),
        ("PHONE", rf"\+\d[\d ().-]{{5,24}}\d{_E}"),
        ("PHONE", rf"\(\d{{2,5}}\)[\d .-]{{5,16}}\d{_E}"),
        ("PHONE", rf"{_B}\d{{3}}[ .-]\d{{3,4}}[ .-]\d{{4}}{_E}"),
        ("PHONE", rf"{_B}0\d{{1,4}}[ /-]\d{{2,8}}(?:[ -]\d{{2,6}}){{0,3}}{_E}"),
        ("POSTCODE", rf"{_B}[A-Z]{{1,2}}\d[A-Z\d]?[ ]?\d[A-Z]{{2}}{_E}"),
        ("POSTCODE", rf"{_B}\d{{5}}-\d{{4}}{_E}"),
        ("POSTCODE", rf"{_B}[A-Z]{{2}}[ ]\d{{5}}{_E}"),
        ("NUMBER", rf"{_B}\d{{6,}}{_E}{_NO_UNIT}"),
    )
)
# The words before a name stay.
_NAMED = tuple(
    re.compile(rf"(?P<before>{_B}{before})(?P<name>{name}){_E}")
    for before, name in (
        (r"(?:Dr|Mr|Mrs|Ms|Miss|Prof|Professor|Doctor|Sister|Nurse)\b\.?[ \t]+", _NAMES),
        (r"(?i:my name is|my name's|my name:)[ \t]+", rf"[^\W\d_]{_IN_NAME}(?:[ \t]+{_NAME_WORD}){{0,2}}"),
        (r"(?:Patient|Name|Dear)(?:[ \t]*:[ \t]*|[ \t]+)", rf"{_NAME_WORD}[ \t]+{_NAMES}"),
    )
)

# A text of people settles in two or three passes; one that does not is made to be slow.
_MOST_PASSES = 16


class NotRedacted(SalusError):
    """A text could not be redacted, or not in time, and so must not be kept."""


class Redactor(Protocol):
    """Takes out of a text what points at a person, and leaves marks as `MARK` finds them.

    What it leaves it leaves again: `redact(redact(text)) == redact(text)`.
    """

    def redact(self, text: str) -> str: ...


class Redaction(Protocol):
    """Redacts the texts of one exchange without holding up its caller."""

    async def redact(self, texts: Sequence[str]) -> tuple[str, ...]:
        """The texts as they may be kept.

        Raises:
            NotRedacted: they could not be redacted in time.
            SalusError: the redactor is missing or faulty, or too many wait for it.
        """


class RuleRedactor:
    """The rules above, applied until they find nothing more."""

    def redact(self, text: str) -> str:
        """The text with marks. Raises NotRedacted for a text that changes with every pass."""
        return until_settled(_once, text)


def until_settled(once: Callable[[str], str], text: str) -> str:
    """The text after as many passes as change it. Raises NotRedacted where that has no end."""
    for _ in range(_MOST_PASSES):
        if (taken := once(text)) == text:
            return text
        text = taken
    raise NotRedacted(f"A text still changes after {_MOST_PASSES} passes of its redactor, and is not kept.")


def _once(text: str) -> str:
    for mark, form in _FORMS:
        text = form.sub(mark, text)
    for named in _NAMED:
        text = named.sub(r"\g<before>[NAME]", text)
    return text
