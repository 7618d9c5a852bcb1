"""The items of a JSON array one after another, each with the line it begins on: hub files called `.json`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from actors.errors import SalusError

_GAP = re.compile(r"[ \t\r\n]*")


def array_items(text: str, file: str) -> Iterator[tuple[int, object]]:
    """(line, value) of each item of the array that `text` holds; `file` is what faults name.

    Raises `SalusError` where the text is not one whole JSON array, naming the line.
    """
    decoder = json.JSONDecoder()
    at = _after_gap(text, 0)
    if text[at : at + 1] != "[":
        raise SalusError(f"{file}, line {_line(text, at)}: there is no JSON array; write one, or one object a line.")
    at = _after_gap(text, at + 1)
    line = _line(text, at)
    ended = text[at : at + 1] == "]"
    while not ended:
        try:
            value, end = decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            raise SalusError(
                f"{file}, line {error.lineno}: not valid JSON ({error.msg} at column {error.colno}); mend the file."
            ) from error
        yield line, value
        end = _after_gap(text, end)
        ended = text[end : end + 1] == "]"
        if not ended and text[end : end + 1] != ",":
            raise SalusError(f"{file}, line {_line(text, end)}: ',' or ']' is missing after an item; mend the file.")
        start, at = at, end if ended else _after_gap(text, end + 1)
        line += text.count("\n", start, at)
    rest = _after_gap(text, at + 1)
    if rest < len(text):
        raise SalusError(f"{file}, line {_line(text, rest)}: there is more after the array; mend the file.")


def _after_gap(text: str, at: int) -> int:
    match = _GAP.match(text, at)
    assert match is not None  # the pattern also fits nothing at all
    return match.end()


def _line(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1
