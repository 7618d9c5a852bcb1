"""Typed values out of a row: text, a number in a range, an object, one of a closed set; a bad one is refused."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import TypeVar

from actors.contract.records import TOPIC_MARK
from pipelines.data.rows import Row, nearest

Choice = TypeVar("Choice", bound=str)


def text(row: Row, column: str) -> str:
    """The column's text without white space around it; empty or anything but text is refused."""
    return clean_text(row, column, row.values[column])


def clean_text(row: Row, name: str, value: object) -> str:
    """A value of a row as `text`; `name` is what faults call it."""
    if isinstance(value, bytes):
        row.fail(f"'{name}' holds bytes where text is expected; write the column as text (UTF-8 strings).")
    if not isinstance(value, str):
        row.fail(f"'{name}' is {_kind(value)} where text is expected; fill it in or drop the row.")
    stripped = value.strip()
    if not stripped:
        row.fail(f"'{name}' is empty; fill it in or drop the row.")
    if any("\ud800" <= letter <= "\udfff" for letter in stripped):
        row.fail(f"'{name}' holds half of a surrogate pair, which is no text; mend its \\u escapes.")
    return stripped


def optional_text(row: Row, column: str) -> str | None:
    """The column's text, or None where it is absent, null or blank."""
    value = row.values.get(column)
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    return text(row, column)


def topics(row: Row, column: str) -> str | None:
    """The topics in a column, as `PROMPT_SCHEMA` joins them; None where there is none.

    A text is one topic, and a list holds several. Of a table of yes and no, as Egida has it, those with yes are meant.
    """
    value = row.values.get(column)
    if isinstance(value, Mapping):
        named = [name for name, holds in value.items() if holds]
    elif isinstance(value, list):
        named = value
    else:
        named = [value] if optional_text(row, column) is not None else []
    # The mark between topics is in none of them.
    found = sorted({clean_text(row, column, name).replace(TOPIC_MARK, "/") for name in named})
    return TOPIC_MARK.join(found) or None


def whole_number(row: Row, column: str, low: int, high: int) -> int:
    """The column as an integer within `low` to `high`; digits in text (as CSV has them) are read too."""
    value = row.values[column]
    number: int | None = None
    if isinstance(value, int) and not isinstance(value, bool):
        number = value
    elif isinstance(value, float) and value.is_integer():
        number = int(value)
    elif isinstance(value, str):
        digits = value.strip()
        # isdecimal alone also takes other scripts' digits, which int() reads but no data set means.
        number = int(digits) if digits.isascii() and digits.isdecimal() and len(digits) < 10 else None
    if number is None or not low <= number <= high:
        row.fail(f"'{column}' is {_kind(value)} where a whole number from {low} to {high} is expected.")
    return number


def share(row: Row, name: str, value: object) -> float | None:
    """A value as a number from 0 to 1, None where it is null or blank; text, as CSV has it, is read too.

    `name` is what faults call it.
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    try:
        number = math.nan if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = math.nan
    if not 0.0 <= number <= 1.0:
        row.fail(f"'{name}' is {_kind(value)} where a number from 0 to 1 is expected.")
    return number


def structure(row: Row, column: str) -> object:
    """The column's value; in CSV an object is written as JSON, anything else stays a text."""
    value = row.values[column]
    if not isinstance(value, str) or not value.lstrip().startswith("{"):
        return value
    try:
        found: object = json.loads(value)
    except json.JSONDecodeError as error:
        row.fail(f"'{column}' is not valid JSON ({error.msg} at character {error.pos}); mend it or drop the row.")
    return found


def one_of(row: Row, column: str, allowed: Sequence[Choice]) -> Choice:
    """The column as one of a closed set, whatever its case and with `-` or a blank for `_`."""
    value = text(row, column)
    plain = value.lower().replace("-", "_").replace(" ", "_")
    for choice in allowed:
        if choice.lower() == plain:
            return choice
    row.fail(f"'{column}' is '{value}', not one of {', '.join(allowed)}; did you mean '{nearest(plain, allowed)}'?")


def _kind(value: object) -> str:
    return "missing" if value is None else repr(value)[:60]
