"""The settings in which two resolved configurations differ, in words a user can act on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Difference:
    """One setting that is not the same; None where a side does not have it."""

    # Dotted, as train.challengers.kto.beta.
    name: str
    known: Any
    asked: Any


def differences(known: Any, asked: Any, at: str = "") -> Iterator[Difference]:
    """Every setting that differs, in order of name."""
    if isinstance(known, dict) and isinstance(asked, dict):
        for key in sorted({*known, *asked}):
            yield from differences(known.get(key), asked.get(key), f"{at}.{key}" if at else str(key))
    elif known != asked:
        yield Difference(at, known, asked)


def first_difference(known: Any, asked: Any) -> str | None:
    """As `train.challengers.kto.beta: 0.1 there, 0.2 now`, by the name of the setting; None where nothing differs."""
    first = next(differences(known, asked), None)
    return None if first is None else f"{first.name}: {first.known!r} there, {first.asked!r} now"
